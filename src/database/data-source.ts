import pg from 'pg';
import { DataSource } from 'typeorm';
import { migrations } from '../../migrations/index.js';
import { PreparingClient } from './prepared.js';

const INT8 = 20;
// Counts, sizes and sequence numbers of one installation stay far below 2^53.
pg.types.setTypeParser(INT8, Number);

/** How the database is reached. */
export interface DatabaseSettings {
  /** `postgres://user:password@host:port/name`. */
  readonly url: string;
  /** Most connections of this process's pool. */
  readonly poolSize: number;
  /** How long a query may run, milliseconds. */
  readonly statementMs: number;
  /** How long a connection may take, milliseconds. */
  readonly connectMs: number;
  /** How often Postgres looks whether this process is still there while a statement runs or waits, milliseconds; never when absent. Postgres 14 or later. */
  readonly clientCheckMs?: number;
}

/** The pool of one process. There are no TypeORM entities: repositories speak SQL, because what decides here is one statement each. */
export function createDataSource({ url, poolSize, statementMs, connectMs, clientCheckMs }: DatabaseSettings): DataSource {
  return new DataSource({
    type: 'postgres',
    url,
    poolSize,
    migrations,
    migrationsTableName: 'migrations',
    connectTimeoutMS: connectMs,
    extra: {
      Client: PreparingClient,
      statement_timeout: statementMs,
      idle_in_transaction_session_timeout: statementMs,
      application_name: 'limbeck',
      ...(clientCheckMs !== undefined && { options: `-c client_connection_check_interval=${clientCheckMs}` }),
    },
  });
}
