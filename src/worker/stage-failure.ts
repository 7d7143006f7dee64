import { Aborted, AppError } from '../common/errors.js';
import type { StageFailure } from '../runs/stage-ledger.service.js';
import type { Hold } from './hold.js';

const LONGEST_MESSAGE = 4_000;

/** Whether work ended because it was told to, and not because something is wrong with it. */
export function isStopped(error: unknown, { reason, killSignal }: Pick<Hold, 'reason' | 'killSignal'>): boolean {
  return reason !== undefined && (error instanceof Aborted || killSignal.aborted);
}

/** What the job object says of an error: ours in full, of others only that there was one; the worker's log has it. */
export function failureOf(error: unknown): StageFailure {
  if (!(error instanceof AppError)) return { code: 'internal.error', message: 'the worker met an error it does not know; its log has it under this job', param: null };
  return { code: error.code, message: error.message.replaceAll('\0', '\uFFFD').slice(0, LONGEST_MESSAGE), param: error.param };
}
