import { Injectable } from '@nestjs/common';
import { newId } from '../common/ids.js';
import type { Tx } from '../database/database.js';
import { parseServiceSpec, specHash, type ServiceSpec } from '../distillation/spec.js';
import { stagesOf } from '../distillation/stage-order.js';
import type { Caller } from '../http/caller.js';
import type { StageOffer } from '../queue/queue-names.js';
import { jobOf } from './job-view.js';
import { RunFeed, statusEntry } from './run-feed.service.js';
import { RunInputs } from './run-inputs.js';
import { offerOf } from './run-orders.service.js';
import { RunsRepository, type NewStage } from './runs.repository.js';
import type { CreateJob, Job } from './runs.schema.js';

/** Who creates a job, and whether it ends after validation. */
export interface CreationOptions {
  readonly caller: Caller;
  readonly dryRun: boolean;
}

/** Writes new jobs. */
@Injectable()
export class RunCreation {
  constructor(
    private readonly repository: RunsRepository,
    private readonly inputs: RunInputs,
    private readonly feed: RunFeed,
  ) {}

  /**
   * Creates a job with its stages and first event, all in the caller's transaction; the first stage is to be offered after the commit.
   * @throws JobInputUnknown when the job names something that does not exist
   */
  async create(tx: Tx, body: CreateJob, { caller, dryRun }: CreationOptions): Promise<{ readonly job: Job; readonly first: StageOffer }> {
    const spec = specOf(body);
    const hash = specHash(spec);
    const named = { model: spec.model, trainingFile: spec.training_file, validationFile: spec.validation_file, teacherId: spec.method.distillation.teacher };
    const lineage = await this.inputs.check(tx, named, hash);
    const id = newId('ftjob');
    const { seed, suffix } = spec;
    const run = await this.repository.insert(tx, { id, createdBy: caller.keyId, ...named, suffix, seed, spec, specHash: hash, lineage, metadata: body.metadata ?? {}, dryRun });
    const stages = await this.repository.insertStages(tx, id, stageRowsOf(spec, dryRun));
    await this.feed.tell(tx, id, { kind: 'event', type: 'job.created', message: 'the job was created; a worker validates what it names' }, statusEntry(run.status));
    return { job: jobOf(run, stages, run.created_at), first: offerOf(stages[0]) };
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
