import { Injectable } from '@nestjs/common';
import { Database, rowsOf, type Tx } from '../database/database.js';
import type { RunRow, RunState, StageRow } from './runs.rows.js';

/** Which runs a list shows, newest first. */
export interface RunFilter {
  readonly after?: string;
  readonly status?: string;
  readonly model?: string;
  /** Pairs that all must be there. */
  readonly metadata?: Readonly<Record<string, string>>;
}

const unix = (column: string): string => `floor(extract(epoch from ${column}))::int8 as ${column}`;

/** Of `runs`, as a `RunRow`. */
export const RUN_COLUMNS = [
  'id, status, model, training_file, validation_file, teacher_id, suffix, seed, spec, spec_hash, lineage, metadata, dry_run, error, pause_cause, plan, report, fine_tuned_model, seq',
  ...['created_at', 'started_at', 'finished_at', 'pause_requested_at', 'cancel_requested_at'].map(unix),
].join(', ');

/** Attempts that ended by a cause for which they are repeated, and were followed by another. */
const RESTARTS = `(select coalesce(jsonb_object_agg(how, times), '{}') from (
  select a.how, count(*) as times from stage_attempts a join stage_attempts next on next.stage_id = a.stage_id and next.epoch = a.epoch + 1
  where a.stage_id = stages.id and a.how in ('preempted', 'lost', 'infra', 'trainer_error') group by a.how) as restarted) as restarts`;

const stageColumns = (restarts: string): string =>
  ['id, run_id, name, queue, status, epoch, node_id, device_seconds, progress, account, error, waiting_for, teacher_attempts', restarts, unix('started_at'), unix('finished_at')].join(', ');

/** Of `stages`, as a `StageRow`; of new ones, which nobody has begun yet. */
const STAGE_COLUMNS = stageColumns(RESTARTS);
export const NEW_STAGE_COLUMNS = stageColumns(`'{}'::jsonb as restarts`);

/** Every query on `runs` and `stages` that serves the API, but for the creation. */
@Injectable()
export class RunsRepository {
  constructor(private readonly database: Database) {}

  async find(id: string): Promise<RunRow | undefined> {
    const [row] = await this.database.query<RunRow>(`select ${RUN_COLUMNS} from runs where id = $1`, [id]);
    return row;
  }

  async state(id: string): Promise<RunState | undefined> {
    const [row] = await this.database.query<RunState>('select status, seq from runs where id = $1', [id]);
    return row;
  }

  /** Locks a run and its stages against every change until the transaction ends; the run first, as everywhere. */
  async lock(tx: Tx, id: string): Promise<{ readonly run: RunRow; readonly stages: StageRow[] } | undefined> {
    const [run] = await rowsOf<RunRow>(tx, `select ${RUN_COLUMNS} from runs where id = $1 for update`, [id]);
    return run && { run, stages: await rowsOf<StageRow>(tx, `select ${STAGE_COLUMNS} from stages where run_id = $1 order by ordinal for update`, [id]) };
  }

  /** Up to `limit` runs, newest first. */
  list({ after, status, model, metadata }: RunFilter, limit: number): Promise<RunRow[]> {
    const given: unknown[] = [limit];
    const named = (value: unknown): string => `$${given.push(value)}`;
    const conditions = ['true'];
    if (status !== undefined) conditions.push(`status = ${named(status)}`);
    if (model !== undefined) conditions.push(`model = ${named(model)}`);
    if (metadata !== undefined) conditions.push(`metadata @> ${named(JSON.stringify(metadata))}::jsonb`);
    if (after !== undefined) {
      const cursor = named(after);
      conditions.push(`(created_at, id) < ((select created_at from runs where id = ${cursor}), ${cursor})`);
    }
    return this.database.query<RunRow>(`select ${RUN_COLUMNS} from runs where ${conditions.join(' and ')} order by runs.created_at desc, id desc limit $1`, given);
  }

  /** The stages of runs, each run's in order. */
  async stagesOf(runIds: readonly string[]): Promise<Map<string, StageRow[]>> {
    return byRun(await this.database.query<StageRow>(STAGES_OF, [runIds]));
  }

  /** Notes that a run shall pause or be cancelled. The first request counts. */
  async request(tx: Tx, id: string, order: 'pause' | 'cancel'): Promise<void> {
    await tx.query(`update runs set ${order}_requested_at = coalesce(${order}_requested_at, clock_timestamp()) where id = $1`, [id]);
  }

  /** Makes the pause of a run that paused by itself somebody's wish. */
  async keepPaused(tx: Tx, id: string): Promise<void> {
    await tx.query('update runs set pause_requested_at = clock_timestamp(), pause_cause = null where id = $1', [id]);
  }

  /** Lets the paused stages of a run wait for a worker again. @returns them, in order. */
  async wakeStages(tx: Tx, runId: string): Promise<StageRow[]> {
    return rowsOf<StageRow>(tx, `update stages set status = 'waiting' where run_id = $1 and status = 'paused' returning ${STAGE_COLUMNS}`, [runId]);
  }

  /** Tells the worker that holds a stage to look at its run's orders, at commit. */
  async notifyWorker(tx: Tx, stageId: number): Promise<void> {
    await tx.query(`select pg_notify('stage_orders', $1)`, [String(stageId)]);
  }

  /** Deletes a run with everything that hangs on it; models it made stay. */
  async delete(tx: Tx, id: string): Promise<void> {
    await tx.query('delete from runs where id = $1', [id]);
  }
}

const STAGES_OF = `select ${STAGE_COLUMNS} from stages where run_id = any($1) order by run_id, ordinal`;

function byRun(rows: readonly StageRow[]): Map<string, StageRow[]> {
  const runs = new Map<string, StageRow[]>();
  for (const row of rows) {
    const stages = runs.get(row.run_id);
    if (stages) stages.push(row);
    else runs.set(row.run_id, [row]);
  }
  return runs;
}
