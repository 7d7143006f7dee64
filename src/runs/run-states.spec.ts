import { describe, expect, it } from 'vitest';
import { isFinished, nextRunStatus, nextStageStatus, RUN_STATUSES, runStatusesBefore, STAGE_STATUSES, stageStatusesBefore, type RunStatus, type StageStatus } from './run-states.js';

/** One row a status; its columns are the statuses in the same order, `x` where the move is allowed. */
const RUN_TABLE = `
  validating_files  . x . . . x x x
  queued            . . x x x . x x
  running           . . . x x x x x
  pausing           . . . . x x x x
  paused            . x . . . . x x
  succeeded         . . . . . . . .
  failed            . . . . . . . .
  cancelled         . . . . . . . .`;

const STAGE_TABLE = `
  blocked    . x . x . x x
  waiting    . . x x . x x
  running    . x . x x x x
  paused     . x . . . x x
  succeeded  . . . . . . .
  failed     . . . . . . .
  cancelled  . . . . . . .`;

describe('the state machine of a run', () => {
  it.each(pairsOf<RunStatus>(RUN_TABLE, RUN_STATUSES))('%s -> %s: %s', (from, to, allowed) => {
    if (allowed) expect(nextRunStatus(from, to)).toBe(to);
    else expect(() => nextRunStatus(from, to)).toThrowError(expect.objectContaining({ code: 'jobs.move_forbidden', kind: 'conflict' }));
    expect(runStatusesBefore(to).includes(from)).toBe(allowed);
  });

  it('never leaves a finished status', () => {
    expect(RUN_STATUSES.filter(isFinished)).toEqual(['succeeded', 'failed', 'cancelled']);
  });

  it('says what a refused move could have been', () => {
    expect(() => nextRunStatus('paused', 'running')).toThrow('a job that is paused cannot become running; it can become queued, failed, cancelled');
    expect(() => nextRunStatus('failed', 'queued')).toThrow('a job that is failed cannot become queued; it never changes again');
  });
});

describe('the state machine of a stage', () => {
  it.each(pairsOf<StageStatus>(STAGE_TABLE, STAGE_STATUSES))('%s -> %s: %s', (from, to, allowed) => {
    if (allowed) expect(nextStageStatus(from, to)).toBe(to);
    else expect(() => nextStageStatus(from, to)).toThrowError(expect.objectContaining({ code: 'jobs.stage_move_forbidden', kind: 'conflict' }));
    expect(stageStatusesBefore(to).includes(from)).toBe(allowed);
  });
});

function pairsOf<Status extends string>(table: string, statuses: readonly Status[]): [Status, Status, boolean][] {
  const rows = table.trim().split('\n').map((line) => line.trim().split(/\s+/));
  expect(rows.map(([name]) => name)).toEqual(statuses);
  return rows.flatMap(([name, ...cells]) => statuses.map((to, index): [Status, Status, boolean] => [name as Status, to, cells[index] === 'x']));
}
