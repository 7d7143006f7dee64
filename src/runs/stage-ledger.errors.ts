import { AppError } from '../common/errors.js';

/** A worker wrote for a stage that another has taken over, or that has ended; nothing was written. The worker stops its work. */
export class FencedOut extends AppError {
  readonly code = 'stages.fenced_out';
  readonly kind = 'conflict';
  constructor({ runId, stage, epoch }: { readonly runId: string; readonly stage: string; readonly epoch: number }) {
    super(`stage ${stage} of ${runId} no longer belongs to epoch ${epoch}; what this worker writes is refused`);
  }
}
