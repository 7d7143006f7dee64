import type { Type } from '@nestjs/common';
import { AuthModule } from '../../src/auth/auth.module.js';
import type { ApiSettingsInput } from '../../src/config/service-settings.js';
import { startWholeApi, type WholeApi } from './whole-api.js';

export type RunningApi = WholeApi;

/** Some features of the API, on top of authentication. @param features modules that serve routes. */
export function startApi(features: readonly Type[], change: Partial<ApiSettingsInput> = {}): Promise<RunningApi> {
  return startWholeApi(change, [AuthModule, ...features]);
}
