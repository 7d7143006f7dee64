import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Module, type DynamicModule, type Type } from '@nestjs/common';
import { AuthModule } from '../../src/auth/auth.module.js';
import { AuthService } from '../../src/auth/auth.service.js';
import { ApiSettings, type ApiSettingsInput } from '../../src/config/service-settings.js';
import { SettingsModule } from '../../src/config/settings.module.js';
import { API_SETTINGS } from '../../src/config/tokens.js';
import { DatabaseModule } from '../../src/database/database.module.js';
import { Database } from '../../src/database/database.js';
import { createApp } from '../../src/http/create-app.js';
import { HttpModule } from '../../src/http/http.module.js';
import { loggingModule } from '../../src/http/logging.js';
import type { Scope } from '../../src/http/scopes.js';
import { freshDatabase, redis } from './service-servers.js';

/** Some features of the API in this process, on a database and a store of their own. */
export interface RunningApi {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  readonly storeDir: string;
  readonly database: Database;
  /** A new API key with these scopes. */
  key(...scopes: [Scope, ...Scope[]]): Promise<string>;
  close(): Promise<void>;
}

@Module({})
class FeaturesModule {
  static of(settings: ApiSettings, features: readonly Type[]): DynamicModule {
    const plumbing = [SettingsModule.of(API_SETTINGS, settings), loggingModule({ level: 'silent', service: 'test' }), HttpModule, DatabaseModule.of(settings), AuthModule];
    return { module: FeaturesModule, imports: [...plumbing, ...features] };
  }
}

/** @param features modules that serve routes, on top of authentication. */
export async function startApi(features: readonly Type[], change: Partial<ApiSettingsInput> = {}): Promise<RunningApi> {
  const [database, queue] = [await freshDatabase(), await redis()];
  const storeDir = mkdtempSync(join(tmpdir(), 'limbeck-api-'));
  const settings = ApiSettings.parse({
    databaseUrl: database.url, redisUrl: queue.url, redisPrefix: queue.prefix, storeDir, masterKey: '5a'.repeat(32), logLevel: 'silent', drainMs: 0, ...change,
  });
  const app = await createApp(FeaturesModule.of(settings, features), settings);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    storeDir,
    database: app.get(Database),
    key: async (...scopes) => (await app.get(Database).transaction((tx) => app.get(AuthService).createKey(tx, { name: 'test', scopes }))).text,
    close: async () => {
      await app.close();
      await Promise.all([database.close(), queue.close()]);
      rmSync(storeDir, { recursive: true, force: true });
    },
  };
}
