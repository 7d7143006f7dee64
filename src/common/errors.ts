/** What kind of failure an error is; HTTP status, exit status, log level and retry follow from it, each in one place. */
export type ErrorKind = 'invalid' | 'missing' | 'conflict' | 'unavailable' | 'bug';

/**
 * Base of every error Limbeck raises on purpose. `code` is stable for ever: clients and tests match on it, never on the text.
 * The message says what was wrong, where, and what would be right.
 */
export abstract class AppError extends Error {
  abstract readonly code: `${string}.${string}`;
  abstract readonly kind: ErrorKind;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }

  get retryable(): boolean {
    return this.kind === 'unavailable';
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
