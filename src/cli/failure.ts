import { Aborted, AppError, type ErrorKind } from '../common/errors.js';

/** Exit status of each kind of failure; 130 is what a shell reports for Ctrl-C. */
const EXIT_STATUS: Readonly<Record<ErrorKind, number>> = {
  invalid: 2,
  too_large: 2,
  unprocessable: 2,
  missing: 3,
  conflict: 4,
  unavailable: 5,
  too_many: 5,
  unauthenticated: 6,
  forbidden: 6,
  bug: 70,
};
const EXIT_STOPPED = 130;

/** The out directory is not one this command may write to. */
export class OutDirectoryTaken extends AppError {
  readonly code = 'cli.out_directory_taken';
  readonly kind = 'conflict';
}

/** A file named on the command line or in a job cannot be read. */
export class InputUnreadable extends AppError {
  readonly code = 'cli.input_unreadable';
  readonly kind = 'missing';
}

/** A command line argument is not what it should be. */
export class ArgumentInvalid extends AppError {
  readonly code = 'cli.argument_invalid';
  readonly kind = 'invalid';
}

/** Says on standard error what went wrong, with its code, and returns the exit status. Anything unexpected shows its stack: it is a bug. */
export function reportFailure(error: unknown): number {
  if (error instanceof Aborted) {
    process.stderr.write(`${error.message}\n`);
    return EXIT_STOPPED;
  }
  if (error instanceof AppError) {
    process.stderr.write(`error ${error.code}: ${error.message}\n`);
    return EXIT_STATUS[error.kind];
  }
  const diskFull = error instanceof Error && 'code' in error && error.code === 'ENOSPC';
  if (diskFull) {
    process.stderr.write(`error storage.disk_full: ${error.message}; free some space and run the command again with --resume\n`);
    return EXIT_STATUS.unavailable;
  }
  process.stderr.write(`error cli.unexpected: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return EXIT_STATUS.bug;
}
