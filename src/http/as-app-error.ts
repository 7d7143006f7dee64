import { HttpException } from '@nestjs/common';
import type { Request } from 'express';
import { AppError } from '../common/errors.js';
import { BodyTooLarge, DependencyDown, RequestInvalid, RouteUnknown, Unexpected } from './http.errors.js';
import { requestIdOf } from './request-id.js';

/** Whatever was thrown while a request was served, as one of our errors. What is not recognised is `Unexpected`. */
export function asAppError(thrown: unknown, request: Request): AppError {
  if (thrown instanceof AppError) return thrown.kind === 'bug' ? new Unexpected(requestIdOf(request), thrown) : thrown;
  if (thrown instanceof HttpException && thrown.getStatus() === 404) return new RouteUnknown(request.method, request.path);
  return refusedByParser(thrown) ?? (meansDependencyDown(thrown) ? new DependencyDown(thrown) : new Unexpected(requestIdOf(request), thrown));
}

/** What the body parser and the router raise: an `Error` with a 4xx `status`. */
function refusedByParser(thrown: unknown): AppError | undefined {
  if (!(thrown instanceof Error)) return undefined;
  const status = thrown instanceof HttpException ? thrown.getStatus() : numberOf(thrown, 'status');
  if (status === undefined || status < 400 || status >= 500) return undefined;
  return status === 413 ? new BodyTooLarge(numberOf(thrown, 'limit')) : new RequestInvalid(`the request cannot be read: ${thrown.message}`, { cause: thrown });
}

/** SQLSTATE classes and codes that speak of the server and not of the statement: connection, resources, shutdown, a lost race, a statement timeout. */
const SERVER_STATES = /^(08...|53...|57P0[1-5]|57014|40001|40P01)$/;
const SOCKET_CODES = new Set(['ECONNREFUSED', 'ECONNRESET', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', 'EPIPE', 'EHOSTUNREACH']);
/** What pg and TypeORM say without a code. */
const SPEAKS_OF_CONNECTION = /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Driver not Connected|Cannot use a pool after)/;

/** Whether the error comes from a database or another server that is away, and not from what was asked of it. */
export function meansDependencyDown(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  const code = 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : '';
  if (SERVER_STATES.test(code) || SOCKET_CODES.has(code) || SPEAKS_OF_CONNECTION.test(thrown.message)) return true;
  return 'driverError' in thrown && thrown.driverError !== thrown && meansDependencyDown(thrown.driverError);
}

function numberOf(error: Error, field: 'status' | 'limit'): number | undefined {
  const value = (error as { status?: unknown; limit?: unknown })[field];
  return typeof value === 'number' ? value : undefined;
}
