import { newId } from '../common/ids.js';
import type { IncomingMessage } from 'node:http';
import type { NextFunction, Request, Response } from 'express';

/** What a client may call its request: nothing that could forge a line of a log or a header. */
const HARMLESS = /^[A-Za-z0-9._-]{1,128}$/;

const ids = new WeakMap<IncomingMessage, string>();

/** Names the request, by the client's `x-request-id` where that is harmless, and tells the name in the answer. */
export function nameRequest(request: Request, response: Response, next: NextFunction): void {
  const given = request.header('x-request-id');
  const id = given !== undefined && HARMLESS.test(given) ? given : newId('req');
  ids.set(request, id);
  response.set('x-request-id', id);
  next();
}

/** The name that `nameRequest` gave. */
export function requestIdOf(request: IncomingMessage): string {
  return ids.get(request) ?? '';
}
