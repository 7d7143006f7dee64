import { HttpException } from '@nestjs/common';
import type { Request } from 'express';
import { AppError } from '../common/errors.js';
import { BodyTooLarge, RequestInvalid, RouteUnknown, Unexpected } from './http.errors.js';
import { requestIdOf } from './request-id.js';

/** Whatever was thrown while a request was served, as one of our errors. What is not recognised is `Unexpected`. @param maxBodyBytes limit of the body parser */
export function asAppError(thrown: unknown, request: Request, maxBodyBytes: number): AppError {
  if (thrown instanceof AppError) return thrown.kind === 'bug' ? new Unexpected(requestIdOf(request), thrown) : thrown;
  if (thrown instanceof HttpException && thrown.getStatus() === 404) return new RouteUnknown(request.method, request.path);
  return refusedByParser(thrown, maxBodyBytes) ?? new Unexpected(requestIdOf(request), thrown);
}

/** What the body parser and the router raise: an `Error` with a 4xx `status`. */
function refusedByParser(thrown: unknown, maxBodyBytes: number): AppError | undefined {
  const status = statusOf(thrown);
  if (!(thrown instanceof Error) || status < 400 || status >= 500) return undefined;
  return status === 413 ? new BodyTooLarge(maxBodyBytes) : new RequestInvalid(`the request cannot be read: ${thrown.message}`, { cause: thrown });
}

function statusOf(thrown: unknown): number {
  if (thrown instanceof HttpException) return thrown.getStatus();
  return thrown instanceof Error && 'status' in thrown && typeof thrown.status === 'number' ? thrown.status : 500;
}
