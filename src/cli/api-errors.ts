import { z } from 'zod';
import { AppError, type ErrorKind } from '../common/errors.js';
import { httpStatusOf } from '../http/http-status.js';

/** Kinds in the order in which a status is understood. */
const KINDS: readonly ErrorKind[] = ['invalid', 'unauthenticated', 'forbidden', 'missing', 'conflict', 'too_large', 'unprocessable', 'too_many', 'unavailable'];

const ErrorBody = z.object({ error: z.object({ message: z.string(), code: z.string(), param: z.string().nullish() }) });

/** The service refused a request; carries its own code and words. */
export class ApiRefused extends AppError {
  readonly code: `${string}.${string}`;
  readonly kind: ErrorKind;

  /** @param body of the answer, as text. */
  constructor(
    readonly status: number,
    body: string,
    requestId: string | undefined,
  ) {
    const told = ErrorBody.safeParse(parsed(body)).data?.error;
    const where = told?.param ? `${told.param}: ` : '';
    super(`${where}${told?.message ?? `the service answered ${status}`}${requestId === undefined ? '' : ` (request ${requestId})`}`, { param: told?.param ?? null });
    this.code = isCode(told?.code) ? told.code : 'cli.api_refused';
    this.kind = KINDS.find((kind) => httpStatusOf(kind) === status) ?? (status >= 500 ? 'unavailable' : 'invalid');
  }
}

/** No service answers where one should. */
export class ApiUnreachable extends AppError {
  readonly code = 'cli.api_unreachable';
  readonly kind = 'unavailable';
}

/** An answer is not what this version understands. */
export class ApiAnswerUnknown extends AppError {
  readonly code = 'cli.api_answer_unknown';
  readonly kind = 'invalid';
}

function isCode(code: string | undefined): code is `${string}.${string}` {
  return code?.includes('.') === true;
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
