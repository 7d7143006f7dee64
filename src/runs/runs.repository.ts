import { Injectable } from '@nestjs/common';
import { Database, rowsOf, type Tx } from '../database/database.js';
import type { ServiceSpec } from '../distillation/spec.js';
import type { RunLineage, RunRow, RunState, StageRow } from './runs.rows.js';

/** The registered things that a job names. */
export interface NamedInputs {
  readonly model: string;
  readonly trainingFile: string;
  readonly validationFile: string;
  readonly teacherId: string;
}

/** What of them there is: the model's name, the files' SHA-256, the teacher. */
export interface RegisteredInputs {
  readonly model: string | null;
  readonly training: string | null;
  readonly validation: string | null;
  readonly teacher: RunLineage['teacher'] | null;
}

/** A run to be written; its stages follow by `insertStages`. */
export interface NewRun extends NamedInputs {
  readonly id: string;
  readonly createdBy: string;
  readonly suffix: string;
  readonly seed: number;
  readonly spec: ServiceSpec;
  readonly specHash: string;
  readonly lineage: RunLineage;
  readonly metadata: Readonly<Record<string, string>>;
  readonly dryRun: boolean;
}

/** A stage to be written; its ordinal is its place in the list. */
export interface NewStage {
  readonly name: string;
  readonly queue: 'collect' | 'device';
}

/** Which runs a list shows, newest first. */
export interface RunFilter {
  readonly after?: string;
  readonly status?: string;
  readonly model?: string;
  /** Pairs that all must be there. */
  readonly metadata?: Readonly<Record<string, string>>;
}

const unix = (column: string): string => `floor(extract(epoch from ${column}))::int8 as ${column}`;

const RUN_COLUMNS = [
  'id, status, model, training_file, validation_file, teacher_id, suffix, seed, spec, spec_hash, lineage, metadata, dry_run, error, plan, report, fine_tuned_model, seq',
  ...['created_at', 'started_at', 'finished_at', 'pause_requested_at', 'cancel_requested_at'].map(unix),
].join(', ');

const STAGE_COLUMNS = ['id, run_id, name, queue, status, epoch, node_id, device_seconds, progress, account, error', unix('started_at'), unix('finished_at')].join(', ');

/** Every query on `runs` and `stages` that serves the API. */
@Injectable()
export class RunsRepository {
  constructor(private readonly database: Database) {}

  async insert(tx: Tx, run: NewRun): Promise<RunRow> {
    const [row] = await rowsOf<RunRow>(
      tx,
      `insert into runs (id, created_by, status, model, training_file, validation_file, teacher_id, suffix, seed, spec, spec_hash, lineage, metadata, dry_run)
       values ($1, $2, 'validating_files', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
       returning ${RUN_COLUMNS}`,
      [
        run.id,
        run.createdBy,
        run.model,
        run.trainingFile,
        run.validationFile,
        run.teacherId,
        run.suffix,
        run.seed,
        JSON.stringify(run.spec),
        run.specHash,
        JSON.stringify(run.lineage),
        JSON.stringify(run.metadata),
        run.dryRun,
      ],
    );
    return row;
  }

  /** Writes the stages in order; the first waits for a worker, the others for the one before. @returns them, in order. */
  async insertStages(tx: Tx, runId: string, stages: readonly NewStage[]): Promise<StageRow[]> {
    return rowsOf<StageRow>(
      tx,
      `insert into stages (run_id, name, ordinal, queue, status)
       select $1, name, ordinal, queue, case when ordinal = 1 then 'waiting' else 'blocked' end
       from unnest($2::text[], $3::text[]) with ordinality as stage(name, queue, ordinal) order by ordinal
       returning ${STAGE_COLUMNS}`,
      [runId, stages.map(({ name }) => name), stages.map(({ queue }) => queue)],
    );
  }

  async find(id: string): Promise<RunRow | undefined> {
    const [row] = await this.database.query<RunRow>(`select ${RUN_COLUMNS} from runs where id = $1`, [id]);
    return row;
  }

  async state(id: string): Promise<RunState | undefined> {
    const [row] = await this.database.query<RunState>('select status, seq from runs where id = $1', [id]);
    return row;
  }

  /** What a job names, as it is registered; null where it is not. */
  async inputs(tx: Tx, { model, trainingFile, validationFile, teacherId }: NamedInputs): Promise<RegisteredInputs> {
    const [found] = await rowsOf<RegisteredInputs>(
      tx,
      `select (select name from models where name = $1) as model,
              (select sha256 from files where id = $2) as training,
              (select sha256 from files where id = $3) as validation,
              (select jsonb_build_object('id', id, 'name', name, 'model', model, 'dialect', dialect) from teachers where id = $4) as teacher`,
      [model, trainingFile, validationFile, teacherId],
    );
    return found;
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
