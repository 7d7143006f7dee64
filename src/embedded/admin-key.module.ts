import { Module, type DynamicModule } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { ApiKeyHasher } from '../auth/api-key.js';
import { ApiKeysRepository } from '../auth/api-keys.repository.js';
import { AuthService } from '../auth/auth.service.js';
import { createDataSource } from '../database/data-source.js';
import { Database } from '../database/database.js';

/** Just enough of the service to make the first key. */
@Module({})
export class AdminKeyModule {
  static on({ databaseUrl, masterKey }: { databaseUrl: string; masterKey: string }): DynamicModule {
    const limits = { poolSize: 1, statementMs: 30_000, connectMs: 5_000 };
    return {
      module: AdminKeyModule,
      providers: [
        { provide: DataSource, useFactory: () => createDataSource({ url: databaseUrl, ...limits }).initialize() },
        { provide: ApiKeyHasher, useValue: new ApiKeyHasher(masterKey) },
        Database,
        ApiKeysRepository,
        AuthService,
      ],
    };
  }
}
