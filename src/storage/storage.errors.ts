import { AppError } from '../common/errors.js';

/** No room is left for a file; what stood under its name before still stands. */
export class DiskFull extends AppError {
  readonly code = 'storage.disk_full';
  readonly kind = 'unavailable';
}

/** A name that could leave the directory or hide in it. */
export class NameRefused extends AppError {
  readonly code = 'storage.name_refused';
  readonly kind = 'invalid';
}

/** A directory was to appear under a name that is taken. */
export class NameTaken extends AppError {
  readonly code = 'storage.name_taken';
  readonly kind = 'conflict';
}
