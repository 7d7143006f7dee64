import { AppError } from '../common/errors.js';
import type { Scope } from '../http/scopes.js';

/** The request carries no API key. */
export class KeyMissing extends AppError {
  readonly code = 'auth.key_missing';
  readonly kind = 'unauthenticated';
  constructor() {
    super('the request carries no API key; send it as "Authorization: Bearer lbk_…"');
  }
}

/** The key is mistyped or none of ours. */
export class KeyInvalid extends AppError {
  readonly code = 'auth.key_invalid';
  readonly kind = 'unauthenticated';
  constructor(mistyped: boolean) {
    super(mistyped ? 'the API key is not complete: a key is "lbk_" and 49 letters and digits, the last of them a checksum' : 'the API key is not one of this installation');
  }
}

export class KeyExpired extends AppError {
  readonly code = 'auth.key_expired';
  readonly kind = 'unauthenticated';
  constructor() {
    super('the API key has expired; ask an administrator for a new one');
  }
}

export class KeyRevoked extends AppError {
  readonly code = 'auth.key_revoked';
  readonly kind = 'unauthenticated';
  constructor() {
    super('the API key was revoked; ask an administrator for a new one');
  }
}

/** The key may not do this. */
export class ScopeMissing extends AppError {
  readonly code = 'auth.scope_missing';
  readonly kind = 'forbidden';
  constructor(scope: Scope) {
    super(`the API key lacks the scope ${scope}, which this route asks for`);
  }
}

/** No API key has this id. */
export class KeyUnknown extends AppError {
  readonly code = 'auth.key_unknown';
  readonly kind = 'missing';
  constructor(id: string) {
    super(`there is no API key ${id}`, { param: 'id' });
  }
}

/** The Idempotency-Key header cannot be used. */
export class IdempotencyKeyInvalid extends AppError {
  readonly code = 'idempotency.key_invalid';
  readonly kind = 'invalid';
  constructor() {
    super('Idempotency-Key must be 1 to 255 printable ASCII characters', { param: 'Idempotency-Key' });
  }
}

/** The first request with this key has not been answered yet; the same request may be sent again. */
export class IdempotencyInFlight extends AppError {
  readonly code = 'idempotency.in_flight';
  readonly kind = 'conflict';
  constructor() {
    super('a request with this Idempotency-Key is being worked on; send it again in a moment to get its answer');
  }

  override get retryable(): boolean {
    return true;
  }
}

/** The key was used for another request. */
export class IdempotencyMismatch extends AppError {
  readonly code = 'idempotency.mismatch';
  readonly kind = 'unprocessable';
  constructor() {
    super('this Idempotency-Key was used for another request (route or body differ); use a new key for a new request', { param: 'Idempotency-Key' });
  }
}
