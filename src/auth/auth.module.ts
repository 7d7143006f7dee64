import { Global, Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { AccessGuard } from './access.guard.js';
import { ApiKeyHasher } from './api-key.js';
import { ApiKeysController } from './api-keys.controller.js';
import { ApiKeysRepository } from './api-keys.repository.js';
import { AuthService } from './auth.service.js';
import { IdempotencyRepository } from './idempotency.repository.js';
import { IdempotencyService } from './idempotency.service.js';

/** Guards every route of the application that imports it, and gives all features `IdempotencyService`. */
@Global()
@Module({
  controllers: [ApiKeysController],
  providers: [
    { provide: ApiKeyHasher, inject: [API_SETTINGS], useFactory: ({ masterKey }: ApiSettings) => new ApiKeyHasher(masterKey) },
    { provide: APP_GUARD, useClass: AccessGuard },
    ApiKeysRepository,
    AuthService,
    IdempotencyRepository,
    IdempotencyService,
  ],
  exports: [AuthService, IdempotencyService],
})
export class AuthModule {}
