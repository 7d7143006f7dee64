import { AppError } from '../common/errors.js';

/** vLLM's names of refusals, as they stand in `error.type`. */
export type RefusalType = 'BadRequestError' | 'Bad Request';

/** The request asks for something it may not have; `param` is the field at fault. */
export class RequestRefused extends AppError {
  readonly code = 'teacher_server.request_refused';
  readonly kind = 'invalid';
  constructor(
    message: string,
    override readonly param: string | null,
    readonly type: RefusalType = 'BadRequestError',
  ) {
    super(message);
  }
}

/** The request names a model that is not the one served. */
export class ModelNotServed extends AppError {
  readonly code = 'teacher_server.model_not_served';
  readonly kind = 'missing';
  constructor(model: string) {
    super(`The model \`${model}\` does not exist.`);
  }
}

/** The key is missing or wrong. */
export class KeyRefused extends AppError {
  readonly code = 'teacher_server.key_refused';
  readonly kind = 'invalid';
  constructor() {
    super('Unauthorized');
  }
}

/** As many sequences wait as may; the same request may be sent again later. */
export class QueueFull extends AppError {
  readonly code = 'teacher_server.queue_full';
  readonly kind = 'unavailable';
  constructor(
    waiting: number,
    limit: number,
    readonly retryAfterSeconds: number,
  ) {
    super(`${waiting} of at most ${limit} sequences are waiting; send the request again in ${retryAfterSeconds} s`);
  }
}

/** The server is stopping and takes no further requests. */
export class ServerStopping extends AppError {
  readonly code = 'teacher_server.stopping';
  readonly kind = 'unavailable';
  constructor() {
    super('the teacher server is stopping');
  }
}

/** The model's runtime broke; the server must be started anew. */
export class RuntimeFailed extends AppError {
  readonly code = 'teacher_server.runtime_failed';
  readonly kind = 'bug';
  constructor(reason: string, options?: ErrorOptions) {
    super(`the model's runtime failed: ${reason}`, options);
  }
}
