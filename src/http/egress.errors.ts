import { AppError } from '../common/errors.js';

/** Which part of the outbound policy refused: stable, for messages, logs and tests. */
export type EgressRule =
  | 'form' // not an absolute URL in its canonical form
  | 'scheme'
  | 'user_info'
  | 'query_or_fragment'
  | 'path'
  | 'port'
  | 'not_listed' // neither the origin nor a block for its port is on the allow-list
  | 'special_address' // loopback, link-local, metadata, multicast … which must be listed by themselves
  | 'other_origin' // a dispatcher was asked for an origin that it was not made for
  | 'peer'; // the socket is connected to another address than the one that was checked

/** The outbound policy lets no connection be made to this address. */
export class EgressRefused extends AppError {
  readonly code = 'egress.refused';
  readonly kind = 'invalid';

  constructor(
    readonly rule: EgressRule,
    private readonly what: string,
    param: string | null = null,
  ) {
    super(`the outbound policy refuses ${what} (rule ${rule})`, { param });
  }

  /** The same refusal, with the field of the request that held the address. */
  at(param: string): EgressRefused {
    return new EgressRefused(this.rule, this.what, param);
  }
}

/** An entry of the allow-list means nothing, or something that is never allowed. */
export class EgressListInvalid extends AppError {
  readonly code = 'egress.list_invalid';
  readonly kind = 'invalid';

  constructor(entry: string, why: string) {
    super(`LIMBECK_ALLOWED_TEACHERS: ${entry} ${why}; entries are origins (http://127.0.0.1:8000) and blocks with a port (10.0.0.0/8:8000, [fd00::]/8:8000)`);
  }
}

/** A name service or a connection took longer than it may. Bears the code that undici gives its own, so that both are retried alike. */
export class ConnectTimedOut extends Error {
  readonly code = 'UND_ERR_CONNECT_TIMEOUT';
}

/** A name has no address. Bears the code that the system's name service gives, so that both are retried alike. */
export class NameUnknown extends Error {
  readonly code = 'ENOTFOUND';
  constructor(host: string) {
    super(`getaddrinfo ENOTFOUND ${host}`);
  }
}
