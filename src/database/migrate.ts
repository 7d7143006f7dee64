import { MigrationExecutor } from 'typeorm';
import { createDataSource } from './data-source.js';

/** How the schema is brought up to date. */
export interface MigrateSettings {
  /** `postgres://user:password@host:port/name` of a role that may create tables. */
  readonly url: string;
  readonly connectMs: number;
  /** How long a statement of a migration may take. */
  readonly statementMs: number;
  /** How long a statement of a migration may wait for a lock that running processes hold. */
  readonly lockMs: number;
  /** How long to wait for another process that is migrating. */
  readonly waitMs: number;
}

export const MIGRATE_DEFAULTS = { connectMs: 5_000, statementMs: 600_000, lockMs: 5_000, waitMs: 600_000 } as const;

// Any fixed number; it belongs to this purpose alone within a database.
const MIGRATION_LOCK = 5_411_790_000;

/**
 * Applies the migrations that are missing, each once, however many processes ask at the same time: one session-level advisory lock is held on the connection that
 * runs them, so the death of the process or of its connection frees it. All pending ones are one transaction. @returns the names of those applied.
 */
export async function migrate({ url, connectMs, statementMs, lockMs, waitMs }: MigrateSettings): Promise<string[]> {
  // One connection: a migration that strayed to another would not hold the lock.
  const source = await createDataSource({ url, poolSize: 1, statementMs: 0, connectMs }).initialize();
  const runner = source.createQueryRunner();
  try {
    await runner.query(`set lock_timeout = ${waitMs}`);
    await runner.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]);
    await runner.query(`set lock_timeout = ${lockMs}`);
    await runner.query(`set statement_timeout = ${statementMs}`);
    const applied = await new MigrationExecutor(source, runner).executePendingMigrations();
    return applied.map(({ name }) => name);
  } finally {
    await runner.release();
    await source.destroy(); // ends the session, and with it the lock
  }
}
