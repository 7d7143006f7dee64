import type { NextFunction, Request, Response } from 'express';
import { RequestInvalid } from './http.errors.js';

const MAX_DEPTH = 32;
/** Keys that reach an object's prototype when a value is copied carelessly. */
const REFUSED_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

/** Refuses a JSON body nested deeper than any of ours, or with a key that could reach a prototype. */
export function plainJson(request: Request, _response: Response, next: NextFunction): void {
  next(faultIn(request.body, []));
}

function faultIn(value: unknown, path: readonly string[]): RequestInvalid | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if (path.length >= MAX_DEPTH) return new RequestInvalid(`the body is nested deeper than ${MAX_DEPTH} levels`, { param: path.join('.') });
  for (const [key, inner] of Object.entries(value)) {
    const here = [...path, key];
    const fault = REFUSED_KEYS.has(key) ? new RequestInvalid(`${here.join('.')}: a field may not have this name`, { param: here.join('.') }) : faultIn(inner, here);
    if (fault) return fault;
  }
  return undefined;
}
