import { Global, Module, type DynamicModule } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { ApiSettings } from '../config/service-settings.js';
import { createDataSource } from './data-source.js';
import { Database, named } from './database.js';
import { DatabaseListener } from './listener.js';

type Settings = Pick<ApiSettings, 'databaseUrl' | 'databasePoolSize' | 'databaseStatementMs' | 'databaseConnectMs' | 'databaseClientCheckMs'>;

const RETRY_MS = 500;

/** Gives every module of a process its one `Database`, connected before the process starts, and its one `DatabaseListener`. */
@Global()
@Module({})
export class DatabaseModule {
  static of(settings: Settings): DynamicModule {
    const { databaseUrl: url, databasePoolSize: poolSize, databaseStatementMs: statementMs, databaseConnectMs: connectMs, databaseClientCheckMs: clientCheckMs } = settings;
    return {
      module: DatabaseModule,
      providers: [
        { provide: DataSource, useFactory: () => named(createDataSource({ url, poolSize, statementMs, connectMs, clientCheckMs }).initialize()) },
        { provide: DatabaseListener, useFactory: () => new DatabaseListener({ url, connectMs, retryMs: RETRY_MS }) },
        Database,
      ],
      exports: [Database, DatabaseListener],
    };
  }
}
