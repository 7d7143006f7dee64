import { AppError } from '../common/errors.js';

/** The database could not be asked. Nothing was changed; the same call may succeed in a moment. */
export class DatabaseUnavailable extends AppError {
  readonly code = 'database.unavailable';
  readonly kind = 'unavailable';
  constructor(cause: unknown) {
    super('the database does not answer; send the request again in a moment', { cause });
  }
}

/** The database's tables are older or newer than this release. */
export class SchemaMismatch extends AppError {
  readonly code = 'database.schema_mismatch';
  readonly kind = 'conflict';
}
