import { Aborted, AppError, isDiskFull } from '../common/errors.js';
import { EngineFailed } from '../engine/engine.js';
import type { ClaimOutcome, FailureClass, StageFailure } from '../runs/stage-ledger.service.js';
import type { Hold } from './hold.js';

const LONGEST_MESSAGE = 4_000;
/** The one code of every full disk, whoever met it. */
const DISK_FULL = 'storage.disk_full';
/** The code of a teacher that stays away. */
const AWAY = 'teacher.away';

/** What is to become of a stage whose work ended in an error. A full disk or an absent teacher is not the run's fault: it pauses, and goes on where it stopped once the cause is gone. */
export function outcomeOf(error: unknown): ClaimOutcome {
  const failure = failureOf(error);
  if (isDiskFull(error)) return { kind: 'paused', cause: { ...failure, code: DISK_FULL } };
  return failure.code === AWAY ? { kind: 'paused', cause: failure } : { kind: 'failed', by: classOf(error), error: failure };
}

/** Codes of what the machine around the run does: disks, rights, the database. */
const INFRA = new Set(['engine.write_failed', 'engine.device_busy', 'database.unavailable', 'database.busy']);
/** A code of the operating system, such as `EIO`. */
const SYSTEM_CODE = /^E[A-Z0-9]+$/;

function classOf(error: unknown): FailureClass {
  if (error instanceof EngineFailed) return 'trainer_error';
  if (!(error instanceof AppError)) return isSystemError(error) ? 'infra' : 'invalid';
  if (INFRA.has(error.code)) return 'infra';
  return error.code.startsWith('teacher.') ? 'teacher' : 'invalid';
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && 'syscall' in error && SYSTEM_CODE.test(error.code);
}

/** Whether work ended because it was told to, and not because something is wrong with it. */
export function isStopped(error: unknown, { reason, killSignal }: Pick<Hold, 'reason' | 'killSignal'>): boolean {
  return reason !== undefined && (error instanceof Aborted || killSignal.aborted);
}

/** What the job object says of an error: ours in full, of others only that there was one; the worker's log has it. */
function failureOf(error: unknown): StageFailure {
  if (!(error instanceof AppError)) return { code: 'internal.error', message: 'the worker met an error it does not know; its log has it under this job', param: null };
  return { code: error.code, message: error.message.replaceAll('\0', '\uFFFD').slice(0, LONGEST_MESSAGE), param: error.param };
}
