import { AppError } from '../common/errors.js';

/** A committed file of a run is gone or has other bytes than were committed. */
export class FileDamaged extends AppError {
  readonly code = 'storage.file_damaged';
  readonly kind = 'bug';
  constructor(name: string) {
    super(`${name} is not what the run committed: its bytes are gone or damaged; restore the store's directory, or start a new job`);
  }
}
