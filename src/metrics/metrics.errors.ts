import { AppError } from '../common/errors.js';

/** A batch holds more points than one may. */
export class MetricBatchTooLarge extends AppError {
  readonly code = 'metrics.batch_too_large';
  readonly kind = 'too_large';
  constructor(points: number, most: number) {
    super(`the batch holds ${points} points; send at most ${most} at a time`);
  }
}

/** A batch holds a point that cannot be stored; nothing of the batch was. */
export class MetricPointInvalid extends AppError {
  readonly code = 'metrics.point_invalid';
  readonly kind = 'invalid';
  constructor(what: string) {
    super(what);
  }
}
