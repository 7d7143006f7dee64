import { Injectable } from '@nestjs/common';
import { rowsOf, type Tx } from '../database/database.js';
import { RunUnknown } from './runs.errors.js';
import { nextRunStatus, type RunStatus } from './run-states.js';

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
  readonly error?: { readonly code: string; readonly message: string; readonly param: string | null };
}

/** The channel that tells of changed runs; its payload is the run's id. */
export const RUN_CHANGED = 'run_changed';

/**
 * The numbered feed of each run. A number is taken by raising `runs.seq` in the caller's transaction, which holds the run's row until it
 * commits: entries of a run commit in the order of their numbers, so a reader who has seen `n` never meets a smaller one later.
 */
@Injectable()
export class RunFeed {
  /** Adds an entry and wakes the readers at commit. @returns its number. @throws RunUnknown */
  async tell(tx: Tx, runId: string, { kind, level = 'info', type, message, data = {} }: FeedEntry): Promise<number> {
    const [row] = await rowsOf<{ seq: number }>(
      tx,
      `with next as (update runs set seq = seq + 1 where id = $1 returning id, seq),
            stale as (delete from events where run_id = $1 and kind = 'progress' and $2 = 'progress'),
            entry as (insert into events (run_id, seq, kind, level, type, message, data)
                      select id, seq, $2, $3, $4, $5, $6::jsonb from next returning run_id, seq)
       select seq, pg_notify('${RUN_CHANGED}', run_id) from entry`,
      [runId, kind, level, type, message, JSON.stringify(data)],
    );
    if (!row) throw new RunUnknown(runId);
    return row.seq;
  }

  /**
   * Moves a run to another status: the row with its times, the event, and last the `status` entry, with which the feed of a finished run ends.
   * @returns the status before. @throws RunUnknown, RunMoveForbidden
   */
  async move(tx: Tx, runId: string, { to, event, error }: RunMove): Promise<RunStatus> {
    const [run] = await rowsOf<{ status: RunStatus }>(tx, 'select status from runs where id = $1 for update', [runId]);
    if (!run) throw new RunUnknown(runId);
    await tx.query(
      `update runs set status = $2::text, error = coalesce($3::jsonb, error),
         started_at = case when $2 = 'running' then coalesce(started_at, clock_timestamp()) else started_at end,
         finished_at = case when $2 in ('succeeded', 'failed', 'cancelled') then clock_timestamp() end,
         pause_requested_at = case when $2 in ('pausing', 'paused') then pause_requested_at end
       where id = $1`,
      [runId, nextRunStatus(run.status, to), error ? JSON.stringify(error) : null],
    );
    await this.tell(tx, runId, { ...event, kind: 'event' });
    await this.tell(tx, runId, { kind: 'status', type: 'job.status', message: `the job is ${to}`, data: { status: to, ...(error && { error }) } });
    return run.status;
  }
}
