import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import { newId } from '../common/ids.js';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { Database, type Tx } from '../database/database.js';
import { parseServiceSpec, specHash, type ServiceSpec } from '../distillation/spec.js';
import { stagesOf } from '../distillation/stage-order.js';
import type { Caller } from '../http/caller.js';
import { listOf, type List } from '../http/page.js';
import { jobOf } from './job-view.js';
import { RunFeed } from './run-feed.service.js';
import { RunInputs } from './run-inputs.js';
import { isFinished } from './run-states.js';
import { CursorUnknown, JobNotFinished, RunUnknown } from './runs.errors.js';
import { RunsRepository, type NewStage, type RunFilter } from './runs.repository.js';
import type { RunRow, StageRow } from './runs.rows.js';
import type { CreateJob, Job, JobDeleted } from './runs.schema.js';

/** Jobs as the API shows them: create, look, delete. Orders to a job are `RunOrders`. */
@Injectable()
export class RunsService {
  constructor(
    private readonly database: Database,
    private readonly repository: RunsRepository,
    private readonly inputs: RunInputs,
    private readonly feed: RunFeed,
    @Inject(API_SETTINGS) private readonly settings: Pick<ApiSettings, 'storeDir'>,
  ) {}

  /**
   * Creates a job with its stages and first event, all in the caller's transaction; the first stage is to be offered after the commit.
   * @throws JobInputUnknown when the job names something that does not exist
   */
  async create(tx: Tx, body: CreateJob, { caller, dryRun }: { readonly caller: Caller; readonly dryRun: boolean }): Promise<{ readonly job: Job; readonly first: StageRow }> {
    const spec = specOf(body);
    const hash = specHash(spec);
    const named = { model: spec.model, trainingFile: spec.training_file, validationFile: spec.validation_file, teacherId: spec.method.distillation.teacher };
    const lineage = await this.inputs.check(tx, named, hash);
    const id = newId('ftjob');
    const { seed, suffix } = spec;
    await this.repository.insert(tx, { id, createdBy: caller.keyId, ...named, suffix, seed, spec, specHash: hash, lineage, metadata: body.metadata ?? {}, dryRun });
    const first = await this.repository.insertStages(tx, id, stageRowsOf(spec, dryRun));
    await this.feed.tell(tx, id, { kind: 'event', type: 'job.created', message: 'the job was created; a worker validates what it names' });
    await this.feed.tell(tx, id, { kind: 'status', type: 'job.status', message: 'the job is validating_files', data: { status: 'validating_files' } });
    return { job: await this.getIn(tx, id), first };
  }

  /** @throws RunUnknown */
  async get(id: string): Promise<Job> {
    const run = await this.row(id);
    const stages = await this.repository.stagesOf([id]);
    return jobOf(run, stages.get(id) ?? [], now());
  }

  /** The job as this transaction sees it. @throws RunUnknown */
  async getIn(tx: Tx, id: string): Promise<Job> {
    const run = await this.repository.findIn(tx, id);
    if (!run) throw new RunUnknown(id);
    return jobOf(run, await this.repository.stagesIn(tx, id), now());
  }

  /** The row behind a job. @throws RunUnknown */
  async row(id: string): Promise<RunRow> {
    const run = await this.repository.find(id);
    if (!run) throw new RunUnknown(id);
    return run;
  }

  /** A page of jobs, newest first. @throws CursorUnknown */
  async list({ limit, ...filter }: RunFilter & { readonly limit: number }): Promise<List<Job>> {
    const runs = await this.repository.list(filter, limit + 1);
    if (runs.length === 0 && filter.after !== undefined && !(await this.repository.find(filter.after))) throw new CursorUnknown(filter.after);
    const stages = await this.repository.stagesOf(runs.map(({ id }) => id));
    return listOf(runs.map((run) => jobOf(run, stages.get(run.id) ?? [], now())), limit);
  }

  /** Deletes a finished job and its files; a model it made stays. @throws RunUnknown, JobNotFinished */
  async delete(id: string): Promise<JobDeleted> {
    await this.database.transaction(async (tx) => {
      const locked = await this.repository.lock(tx, id);
      if (!locked) throw new RunUnknown(id);
      if (!isFinished(locked.run.status)) throw new JobNotFinished(id, locked.run.status);
      await this.repository.delete(tx, id);
    });
    await rm(join(this.settings.storeDir, 'runs', id), { recursive: true, force: true });
    return { id, object: 'fine_tuning.job', deleted: true };
  }
}

function specOf({ model, training_file, validation_file, seed, suffix, method }: CreateJob): ServiceSpec {
  return parseServiceSpec({ model, training_file, validation_file, seed: seed ?? undefined, suffix: suffix ?? undefined, method });
}

/** A dry run only validates. */
function stageRowsOf(spec: ServiceSpec, dryRun: boolean): NewStage[] {
  const names = dryRun ? (['validate'] as const) : stagesOf(spec);
  return names.map((name) => ({ name, queue: name === 'collect' ? 'collect' : 'device' }));
}

/** Unix seconds. */
function now(): number {
  return Math.floor(Date.now() / 1000);
}
