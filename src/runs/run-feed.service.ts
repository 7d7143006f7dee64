import { Injectable } from '@nestjs/common';
import { rowsOf, type Tx } from '../database/database.js';
import { RunUnknown } from './runs.errors.js';
import { nextRunStatus, type RunStatus } from './run-states.js';
import type { StageFailure } from './stage-claim.js';

/** One entry of a run's feed. Those of kind `event` are listed for ever; of `progress` only the newest is kept. */
export interface FeedEntry {
  readonly kind: 'event' | 'status' | 'progress' | 'metrics';
  /** `info` when not said. */
  readonly level?: 'info' | 'warn' | 'error';
  /** What happened, such as `stage.started`; of a status entry `job.status`. */
  readonly type: string;
  readonly message: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** A change of a run's status, with the event that tells of it. */
export interface RunMove {
  readonly to: RunStatus;
  readonly event: Omit<FeedEntry, 'kind'>;
  /** Of a failed run: what the job object shows. */
  readonly error?: StageFailure;
  /** Of a run that pauses by itself: why. */
  readonly cause?: StageFailure;
}

/** The channel that tells of changed runs; its payload is the run's id. */
export const RUN_CHANGED = 'run_changed';

/** Selects entries as `entriesSent` wrote them, each with its place among them from 1. @param parameter such as `$2` */
export const selectEntries = (parameter: string): string =>
  `select * from rows from (jsonb_to_recordset(${parameter}::jsonb) as (kind text, level text, type text, message text, data jsonb)) with ordinality as entry(kind, level, type, message, data, place)`;

/** Of earlier progress nothing is kept once there is newer. */
const TELL = `
  with told as (${selectEntries('$2')}),
       next as (update runs set seq = seq + (select count(*) from told) where id = $1 returning id, seq),
       stale as (delete from events where run_id = $1 and kind = 'progress' and exists (select from told where told.kind = 'progress')),
       entries as (insert into events (run_id, seq, kind, level, type, message, data)
                   select id, seq - (select count(*) from told) + place, kind, level, type, message, data from next, told)
  select seq, pg_notify('${RUN_CHANGED}', id) from next`;

/**
 * The numbered feed of each run. A number is taken by raising `runs.seq` in the caller's transaction, which holds the run's row until it
 * commits: entries of a run commit in the order of their numbers, so a reader who has seen `n` never meets a smaller one later.
 */
@Injectable()
export class RunFeed {
  /** Adds entries in order and wakes the readers at commit. @returns the number of the last. @throws RunUnknown */
  async tell(tx: Tx, runId: string, ...entries: readonly [FeedEntry, ...FeedEntry[]]): Promise<number> {
    const [row] = await rowsOf<{ seq: number }>(tx, TELL, [runId, entriesSent(entries)]);
    if (!row) throw new RunUnknown(runId);
    return row.seq;
  }

  /**
   * Moves a run to another status: the row with its times, the event, and last the `status` entry, with which the feed of a finished run ends.
   * @returns the status before. @throws RunUnknown, RunMoveForbidden
   */
  async move(tx: Tx, runId: string, { to, event, error, cause }: RunMove): Promise<RunStatus> {
    const [run] = await rowsOf<{ status: RunStatus }>(tx, 'select status from runs where id = $1 for update', [runId]);
    if (!run) throw new RunUnknown(runId);
    await tx.query(
      `update runs set status = $2::text, error = coalesce($3::jsonb, error),
         started_at = case when $2 = 'running' then coalesce(started_at, clock_timestamp()) else started_at end,
         finished_at = case when $2 in ('succeeded', 'failed', 'cancelled') then clock_timestamp() end,
         pause_requested_at = case when $2 in ('pausing', 'paused') then pause_requested_at end, pause_cause = $4::jsonb
       where id = $1`,
      [runId, nextRunStatus(run.status, to), error ? JSON.stringify(error) : null, cause ? JSON.stringify(cause) : null],
    );
    await this.tell(tx, runId, { ...event, kind: 'event' }, statusEntry(to, error));
    return run.status;
  }
}

/** Entries as one parameter of a statement. */
export function entriesSent(entries: readonly FeedEntry[]): string {
  return JSON.stringify(entries.map(({ kind, level = 'info', type, message, data = {} }) => ({ kind, level, type, message, data })));
}

/** What the feed says of a new status. */
export function statusEntry(status: RunStatus, error?: RunMove['error']): FeedEntry {
  return { kind: 'status', type: 'job.status', message: `the job is ${status}`, data: { status, ...(error && { error }) } };
}
