import type { ErrorKind } from '../common/errors.js';

const STATUS_OF_KIND: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  missing: 404,
  conflict: 409,
  too_large: 413,
  unprocessable: 422,
  too_many: 429,
  unavailable: 503,
  bug: 500,
};

/** The HTTP status that a kind of failure is answered with. */
export function httpStatusOf(kind: ErrorKind): number {
  return STATUS_OF_KIND[kind];
}
