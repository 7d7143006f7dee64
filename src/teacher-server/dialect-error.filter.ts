import { STATUS_CODES } from 'node:http';
import { Catch, HttpException, Logger, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { Response } from 'express';
import { Aborted, AppError } from '../common/errors.js';
import { httpStatusOf } from '../http/http-status.js';
import { KeyRefused, ModelNotServed, QueueFull, RequestRefused } from './teacher-server.errors.js';

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly message: string;
  readonly param: string | null;
}

/** Answers every failure the way vLLM does since 0.10.1: `{"error": {message, type, param, code}}`, and a plain string for a refused key. */
@Catch()
export class DialectErrorFilter implements ExceptionFilter {
  private readonly logger = new Logger('TeacherServer');

  catch(error: unknown, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<Response>();
    if (error instanceof Aborted) return;
    if (error instanceof KeyRefused) {
      response.status(401).json({ error: error.message });
      return;
    }
    if (error instanceof QueueFull) response.set('retry-after', String(error.retryAfterSeconds));
    const { status, type, message, param } = answerTo(error);
    if (status === 500) this.logger.error(error instanceof Error ? (error.stack ?? error.message) : String(error));
    response.status(status).json({ error: { message, type, param, code: status } });
  }
}

function answerTo(error: unknown): Answer {
  if (error instanceof RequestRefused) return { status: 400, type: error.type, message: error.message, param: error.param };
  if (error instanceof ModelNotServed) return { status: 404, type: 'NotFoundError', message: error.message, param: 'model' };
  if (error instanceof QueueFull) return { status: 429, type: 'TooManyRequestsError', message: error.message, param: null };
  if (error instanceof AppError) return { status: httpStatusOf(error.kind), type: typeOf(httpStatusOf(error.kind)), message: error.message, param: null };
  const status = statusOfForeign(error);
  if (status >= 500 || !(error instanceof Error)) return { status: 500, type: 'InternalServerError', message: 'Internal server error', param: null };
  return { status, type: STATUS_CODES[status] ?? 'Bad Request', message: error.message, param: null };
}

function typeOf(status: number): string {
  if (status === 500) return 'InternalServerError';
  return status === 400 ? 'BadRequestError' : (STATUS_CODES[status] ?? 'Error');
}

/** What Nest (no such route) and the body parser (malformed, too large) raise. */
function statusOfForeign(error: unknown): number {
  if (error instanceof HttpException) return error.getStatus();
  return error instanceof Error && 'status' in error && typeof error.status === 'number' ? error.status : 500;
}
