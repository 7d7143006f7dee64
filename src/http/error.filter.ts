import { Catch, Logger, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { Request, Response } from 'express';
import { Aborted, type AppError, type ErrorKind } from '../common/errors.js';
import { asAppError } from './as-app-error.js';
import { httpStatusOf } from './http-status.js';

/** `error.type` of each kind of failure, in the words of the OpenAI API where it has one. */
const TYPE_OF_KIND: Readonly<Record<ErrorKind, string>> = {
  invalid: 'invalid_request_error',
  unauthenticated: 'authentication_error',
  forbidden: 'permission_error',
  missing: 'not_found_error',
  conflict: 'conflict_error',
  too_large: 'invalid_request_error',
  unprocessable: 'invalid_request_error',
  too_many: 'rate_limit_error',
  unavailable: 'service_unavailable',
  bug: 'server_error',
};

/** What a 429 or 503 tells a client to wait; clients obey it up to 60 s. */
const RETRY_AFTER_SECONDS = 5;

/** Answers every failure with `{"error": {message, type, code, param}}`. */
@Catch()
export class ErrorFilter implements ExceptionFilter {
  private readonly logger = new Logger('Http');

  constructor(private readonly maxBodyBytes: number) {}

  catch(thrown: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const response = http.getResponse<Response>();
    const request = http.getRequest<Request>();
    if (response.destroyed && (thrown instanceof Aborted || request.readableAborted)) return; // nobody waits for this answer any more
    const error = asAppError(thrown, request, this.maxBodyBytes);
    this.log(error);
    if (response.headersSent) {
      response.destroy(); // what was sent so far must not look complete
      return;
    }
    answer(response, error);
  }

  private log(error: AppError): void {
    if (error.kind === 'bug') this.logger.error({ err: error.cause }, 'a request failed unexpectedly');
    else if (error.kind === 'unavailable') this.logger.warn({ code: error.code, err: error.cause }, error.message);
  }
}

/** Sends an error's body, status and headers; for middleware, which no filter covers, too. */
export function answer(response: Response, error: AppError): void {
  const { message, kind, code, param, details } = error;
  // Without this header the stock OpenAI client repeats every 409.
  if (kind === 'conflict') response.set('x-should-retry', String(error.retryable));
  if (kind === 'too_many' || kind === 'unavailable') response.set('retry-after', String(RETRY_AFTER_SECONDS));
  if (kind === 'unauthenticated' && !response.hasHeader('www-authenticate')) response.set('www-authenticate', 'Bearer');
  response.status(httpStatusOf(kind)).json({ error: { ...details, message, type: TYPE_OF_KIND[kind], code, param } });
}
