import { AppError } from '../common/errors.js';

/** No job has this id. */
export class RunUnknown extends AppError {
  readonly code = 'jobs.unknown';
  readonly kind = 'missing';
  constructor(id: string) {
    super(`there is no job ${JSON.stringify(id.slice(0, 64))}; GET /v1/fine_tuning/jobs lists those there are`);
  }
}

/** What a job names does not exist. `param` is the field that named it. */
export class JobInputUnknown extends AppError {
  readonly kind = 'invalid';
  constructor(
    readonly code: 'jobs.model_unknown' | 'jobs.file_unknown' | 'jobs.teacher_unknown',
    { param, id, where }: { readonly param: string; readonly id: string; readonly where: string },
  ) {
    super(`${param}: there is no ${JSON.stringify(id)}; ${where}`, { param });
  }
}

/** An order came to a job that is done. */
export class JobFinished extends AppError {
  readonly code = 'jobs.finished';
  readonly kind = 'conflict';
  constructor(id: string, status: string, order: string) {
    super(`job ${id} is ${status} and never changes again, so it cannot be ${order}`);
  }
}

/** A job was to pause while its files are being validated, or while it is being cancelled. */
export class JobNotPausable extends AppError {
  readonly code = 'jobs.not_pausable';
  readonly kind = 'conflict';
  constructor(id: string, why: string) {
    super(`job ${id} cannot be paused: ${why}`);
  }
}

/** A job was to go on that does not stand still. */
export class JobNotPaused extends AppError {
  readonly code = 'jobs.not_paused';
  readonly kind = 'conflict';
  constructor(id: string, status: string) {
    super(`job ${id} is ${status}; only a job that is paused can be resumed`);
  }
}

/** A job was to be deleted that is not done. */
export class JobNotFinished extends AppError {
  readonly code = 'jobs.not_finished';
  readonly kind = 'conflict';
  constructor(id: string, status: string) {
    super(`job ${id} is ${status}; cancel it first, and delete it when it is cancelled`);
  }
}

/** `after` names no item of the list. */
export class CursorUnknown extends AppError {
  readonly code = 'jobs.cursor_unknown';
  readonly kind = 'invalid';
  constructor(after: string) {
    super(`after: ${JSON.stringify(after)} is no item of this list; give the id of the last item of the page before, or leave it out to begin anew`, { param: 'after' });
  }
}
