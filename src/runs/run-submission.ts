import { Injectable } from '@nestjs/common';
import type { Request } from 'express';
import { IdempotencyService, type Creation } from '../auth/idempotency.service.js';
import type { Tx } from '../database/database.js';
import type { StageOffer } from '../queue/queue-names.js';
import { StageQueue } from '../queue/stage-queue.js';
import { DryRuns } from './dry-runs.js';
import { RunCreation, type CreationOptions } from './run-creation.service.js';
import type { CreateJob, Job } from './runs.schema.js';

/** Takes submissions: creates once, offers the first stage after the commit, and holds the answer to a dry run until its end. */
@Injectable()
export class RunSubmission {
  constructor(
    private readonly creation: RunCreation,
    private readonly idempotency: IdempotencyService,
    private readonly queue: StageQueue,
    private readonly dryRuns: DryRuns,
  ) {}

  /** @throws JobInputUnknown; the refusals of idempotency */
  async submit(request: Request, body: CreateJob, options: CreationOptions): Promise<Job> {
    let first: StageOffer | undefined;
    const create = async (tx: Tx): Promise<Creation<Job>> => {
      const created = await this.creation.create(tx, body, options);
      first = created.first;
      return { status: 200, body: created.job };
    };
    const job = await this.idempotency.once(request, options.caller, create, { oneStatement: true });
    // Redis may be away: the answer does not wait for it, and the workers' sweep offers what was not.
    if (first) void this.queue.offer(first);
    return options.dryRun ? this.dryRuns.answer(request, job.id) : job;
  }
}
