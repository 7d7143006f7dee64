import { Injectable } from '@nestjs/common';
import { newId } from '../common/ids.js';
import { limbeckVersion } from '../common/version.js';
import type { Tx } from '../database/database.js';
import { serviceSpecSchema, specHash, type ServiceSpec } from '../distillation/spec.js';
import { stagesOf } from '../distillation/stage-order.js';
import type { Caller } from '../http/caller.js';
import type { StageOffer } from '../queue/queue-names.js';
import { jobOf } from './job-view.js';
import { RunCreationRepository, type NewStage } from './run-creation.repository.js';
import { statusEntry, type FeedEntry } from './run-feed.service.js';
import { inputUnknown } from './run-inputs.js';
import { offerOf } from './run-orders.service.js';
import type { CreateJob, Job } from './runs.schema.js';

/** Who creates a job, and whether it ends after validation. */
export interface CreationOptions {
  readonly caller: Caller;
  readonly dryRun: boolean;
}

const VERSION = limbeckVersion();
const CREATED: FeedEntry = { kind: 'event', type: 'job.created', message: 'the job was created; a worker validates what it names' };

/** Writes new jobs. */
@Injectable()
export class RunCreation {
  constructor(private readonly repository: RunCreationRepository) {}

  /**
   * Creates a job with its stages and first entries, by one statement: alone or in the caller's transaction. The first stage is to be offered after the commit.
   * @throws JobInputUnknown when the job names something that does not exist
   */
  async create(tx: Tx, body: CreateJob, { caller, dryRun }: CreationOptions): Promise<{ readonly job: Job; readonly first: StageOffer }> {
    const spec = specOf(body);
    const { missing, run, stages } = await this.repository.create(tx, {
      id: newId('ftjob'),
      createdBy: caller.keyId,
      spec,
      specHash: specHash(spec),
      version: VERSION,
      metadata: body.metadata ?? {},
      dryRun,
      stages: stageRowsOf(spec, dryRun),
      entries: [CREATED, statusEntry('validating_files')],
    });
    if (missing !== null) throw inputUnknown(missing, spec);
    return { job: jobOf(run, stages, run.created_at), first: offerOf(stages[0]) };
  }
}

/** The body was checked by a schema that extends the spec's: what is left is the defaults of the fields that may be null there. */
function specOf({ model, training_file, validation_file, seed, suffix, method }: CreateJob): ServiceSpec {
  const { shape } = serviceSpecSchema;
  return { model, training_file, validation_file, seed: shape.seed.parse(seed ?? undefined), suffix: shape.suffix.parse(suffix ?? undefined), method };
}

/** A dry run only validates. */
function stageRowsOf(spec: ServiceSpec, dryRun: boolean): NewStage[] {
  const names = dryRun ? (['validate'] as const) : stagesOf(spec);
  return names.map((name) => ({ name, queue: name === 'collect' ? 'collect' : 'device' }));
}
