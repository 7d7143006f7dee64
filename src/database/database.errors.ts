import { AppError } from '../common/errors.js';

/** The database could not be asked. Nothing was changed; the same call may succeed in a moment. */
export class DatabaseUnavailable extends AppError {
  readonly code = 'database.unavailable';
  readonly kind = 'unavailable';
  constructor(cause: unknown) {
    super('the database does not answer; send the request again in a moment', { cause });
  }
}

/** The database gave a statement up: it took too long, or it stood in the way of others. Its transaction was undone; the same call may succeed in a moment. */
export class DatabaseBusy extends AppError {
  readonly code = 'database.busy';
  readonly kind = 'unavailable';
  constructor(cause: unknown) {
    super('the database is too busy with other work; nothing was changed; send the request again in a moment', { cause });
  }
}

/** The database's tables are older or newer than this release. */
export class SchemaMismatch extends AppError {
  readonly code = 'database.schema_mismatch';
  readonly kind = 'conflict';
}

/** A migration could not have a lock in time: another process migrates, or running processes use its tables. Nothing was changed. */
export class MigrationBlocked extends AppError {
  readonly code = 'database.migration_blocked';
  readonly kind = 'unavailable';
  constructor(why: string, cause: unknown) {
    super(`the database was not migrated: ${why}`, { cause });
  }
}
