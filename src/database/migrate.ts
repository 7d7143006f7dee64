import { MigrationExecutor, QueryFailedError } from 'typeorm';
import { createDataSource } from './data-source.js';
import { MigrationBlocked } from './database.errors.js';

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

/** The advisory lock of migrations; any fixed number that has no other purpose within the database. */
export const MIGRATION_LOCK = 5_411_790_000;
const LOCK_NOT_AVAILABLE = '55P03';

/**
 * Applies the migrations that are missing, each once, however many processes ask at the same time: one session-level advisory lock is held on the connection that
 * runs them, so the death of the process or of its connection frees it. All pending ones are one transaction. @returns the names of those applied.
 * @throws MigrationBlocked
 */
export async function migrate({ url, connectMs, statementMs, lockMs, waitMs }: MigrateSettings): Promise<string[]> {
  // One connection: a migration that strayed to another would not hold the lock.
  const source = await createDataSource({ url, poolSize: 1, statementMs: 0, connectMs }).initialize();
  const runner = source.createQueryRunner();
  try {
    await runner.query(`set lock_timeout = ${waitMs}`);
    await orBlocked(`another process has been migrating it for ${waitMs} ms; migrate again when it is done`, runner.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]));
    await runner.query(`set lock_timeout = ${lockMs}`);
    await runner.query(`set statement_timeout = ${statementMs}`);
    const executor = new MigrationExecutor(source, runner);
    const applied = await orBlocked(`running processes held a table for more than ${lockMs} ms; migrate again, or stop them first`, executor.executePendingMigrations());
    return applied.map(({ name }) => name);
  } finally {
    await runner.release();
    await source.destroy(); // ends the session, and with it the lock
  }
}

async function orBlocked<Result>(why: string, work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof QueryFailedError && (error.driverError as { code?: string }).code === LOCK_NOT_AVAILABLE) throw new MigrationBlocked(why, error);
    throw error;
  }
}
