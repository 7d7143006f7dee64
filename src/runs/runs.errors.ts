import { AppError } from '../common/errors.js';

/** No job has this id. */
export class RunUnknown extends AppError {
  readonly code = 'jobs.unknown';
  readonly kind = 'missing';
  constructor(id: string) {
    super(`there is no job ${JSON.stringify(id.slice(0, 64))}; GET /v1/fine_tuning/jobs lists those there are`);
  }
}
