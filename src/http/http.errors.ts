import { AppError } from '../common/errors.js';

/** The request is not what the route takes; `param` is the field at fault. */
export class RequestInvalid extends AppError {
  readonly code = 'http.invalid_request';
  readonly kind = 'invalid';
}

/** The body is longer than bodies may be. */
export class BodyTooLarge extends AppError {
  readonly code = 'http.body_too_large';
  readonly kind = 'too_large';
  constructor(limit: number) {
    super(`the request body is larger than the ${limit} bytes allowed; send less at a time`);
  }
}

/** The method and path are none of ours. */
export class RouteUnknown extends AppError {
  readonly code = 'http.unknown_route';
  readonly kind = 'missing';
  constructor(method: string, path: string) {
    super(`there is no ${method} ${path}; /docs lists every route`);
  }
}

/** A fault of ours; the client learns nothing but where the log has it. */
export class Unexpected extends AppError {
  readonly code = 'http.unexpected';
  readonly kind = 'bug';
  constructor(requestId: string, cause: unknown) {
    super(`something went wrong in the service; its log tells more under request id ${requestId}`, { cause });
  }
}

/** A route says nothing about who may call it; the service must not start. */
export class RouteWithoutRule extends AppError {
  readonly code = 'http.route_without_rule';
  readonly kind = 'bug';
  constructor(routes: readonly string[]) {
    super(`nobody may call a route that does not say who may: give ${routes.join(', ')} @Scopes(...) or @Open()`);
  }
}

/** The process would show API keys to everybody on the network. */
export class HostWithoutTls extends AppError {
  readonly code = 'http.host_without_tls';
  readonly kind = 'invalid';
  constructor(host: string) {
    super(`${host} is not a loopback address, and keys would cross the network in plain sight: let a proxy end TLS in front of this process and say so with LIMBECK_BEHIND_TLS=true`);
  }
}
