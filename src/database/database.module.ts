import { Global, Module, type DynamicModule } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { createDataSource, type DatabaseSettings } from './data-source.js';
import { Database } from './database.js';

/** Gives every module of a process its one `Database`, connected before the process starts. */
@Global()
@Module({})
export class DatabaseModule {
  static of(settings: DatabaseSettings): DynamicModule {
    const source = { provide: DataSource, useFactory: () => createDataSource(settings).initialize() };
    return { module: DatabaseModule, providers: [source, Database], exports: [Database] };
  }
}
