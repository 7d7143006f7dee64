/** What kind of failure an error is; HTTP status, exit status, log level and retry follow from it, each in one place. */
export type ErrorKind =
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'missing'
  | 'conflict'
  | 'too_large'
  | 'unprocessable'
  | 'too_many'
  | 'unavailable'
  | 'bug';

/** What an error may carry beside its message. */
export interface AppErrorOptions extends ErrorOptions {
  /** Path of the field at fault in what the caller sent, as `method.distillation.teacher`. */
  readonly param?: string | null;
  /** Further fields of the answer's `error`, for programs. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/**
 * Base of every error Limbeck raises on purpose. `code` is stable for ever: clients and tests match on it, never on the text.
 * The message says what was wrong, where, and what would be right.
 */
export abstract class AppError extends Error {
  abstract readonly code: `${string}.${string}`;
  abstract readonly kind: ErrorKind;

  /** Path of the field at fault, or null where no single field is. */
  readonly param: string | null;
  /** Further fields of the answer's `error`; nothing secret. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(message: string, { param = null, details = {}, ...options }: AppErrorOptions = {}) {
    super(message, options);
    this.name = new.target.name;
    this.param = param;
    this.details = details;
  }

  /** Whether the same call may succeed later without anything being changed. */
  get retryable(): boolean {
    return this.kind === 'unavailable' || this.kind === 'too_many';
  }
}

/** Thrown where work stopped because its `AbortSignal` fired; never a failure of the work itself. */
export class Aborted extends AppError {
  readonly code = 'common.aborted';
  readonly kind = 'conflict';
  constructor(what: string) {
    super(`${what} was stopped on request`);
  }
}

/** Whether a disk had no room left. Whoever meets that raises an error of its own, whose code ends in `disk_full`. */
export function isDiskFull(error: unknown): error is AppError {
  return error instanceof AppError && error.code.endsWith('.disk_full');
}
