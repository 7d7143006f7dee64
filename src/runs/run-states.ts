import { RunMoveForbidden, StageMoveForbidden } from './run-states.errors.js';

/** What a run can be, in the words of the public job object. */
export const RUN_STATUSES = ['validating_files', 'queued', 'running', 'pausing', 'paused', 'succeeded', 'failed', 'cancelled'] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];

/** What a stage can be: `blocked` until the stage before it is done, then `waiting` for a worker. */
export const STAGE_STATUSES = ['blocked', 'waiting', 'running', 'paused', 'succeeded', 'failed', 'cancelled'] as const;
export type StageStatus = (typeof STAGE_STATUSES)[number];

/**
 * Where a run may go. A dry run goes from `validating_files` to `succeeded`; a run whose last stage ends before it could pause
 * goes from `pausing` to `succeeded`; a queued run pauses at once because no worker has it, and a running one when its worker finds that it cannot go on.
 */
const RUN_MOVES: Readonly<Record<RunStatus, readonly RunStatus[]>> = {
  validating_files: ['queued', 'succeeded', 'failed', 'cancelled'],
  queued: ['running', 'pausing', 'paused', 'failed', 'cancelled'],
  running: ['pausing', 'paused', 'succeeded', 'failed', 'cancelled'],
  pausing: ['paused', 'succeeded', 'failed', 'cancelled'],
  paused: ['queued', 'failed', 'cancelled'],
  succeeded: [],
  failed: [],
  cancelled: [],
};

/** Where a stage may go. `running` to `waiting` is a lost or returned lease. */
const STAGE_MOVES: Readonly<Record<StageStatus, readonly StageStatus[]>> = {
  blocked: ['waiting', 'paused', 'failed', 'cancelled'],
  waiting: ['running', 'paused', 'failed', 'cancelled'],
  running: ['succeeded', 'failed', 'cancelled', 'paused', 'waiting'],
  paused: ['waiting', 'failed', 'cancelled'],
  succeeded: [],
  failed: [],
  cancelled: [],
};

/** @returns `to`, when a run may go there from `from`. @throws RunMoveForbidden */
export function nextRunStatus(from: RunStatus, to: RunStatus): RunStatus {
  if (!RUN_MOVES[from].includes(to)) throw new RunMoveForbidden(from, to, RUN_MOVES[from]);
  return to;
}

/** @returns `to`, when a stage may go there from `from`. @throws StageMoveForbidden */
export function nextStageStatus(from: StageStatus, to: StageStatus): StageStatus {
  if (!STAGE_MOVES[from].includes(to)) throw new StageMoveForbidden(from, to, STAGE_MOVES[from]);
  return to;
}

/** Whether a run in this status never changes again. */
export function isFinished(status: RunStatus): boolean {
  return RUN_MOVES[status].length === 0;
}

/** The statuses from which a run may go to `to`: what a guarding `where` compares with. */
export function runStatusesBefore(to: RunStatus): RunStatus[] {
  return RUN_STATUSES.filter((from) => RUN_MOVES[from].includes(to));
}

/** The statuses from which a stage may go to `to`. */
export function stageStatusesBefore(to: StageStatus): StageStatus[] {
  return STAGE_STATUSES.filter((from) => STAGE_MOVES[from].includes(to));
}
