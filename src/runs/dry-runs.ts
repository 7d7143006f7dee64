import { Inject, Injectable } from '@nestjs/common';
import type { Request } from 'express';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { hangUpSignal } from '../http/hang-up.js';
import { RunStream } from './run-stream.service.js';
import type { Job } from './runs.schema.js';
import { RunsService } from './runs.service.js';

const ACCEPTED = 202;

/** Holds the answer to a dry run until its validation has ended. */
@Injectable()
export class DryRuns {
  constructor(
    private readonly runs: RunsService,
    private readonly stream: RunStream,
    @Inject(API_SETTINGS) private readonly settings: Pick<ApiSettings, 'dryRunWaitMs'>,
  ) {}

  /** The job when it has ended, or as it stands after `dryRunWaitMs`: then the status is 202. */
  async answer({ res: response }: Request, id: string): Promise<Job> {
    await this.stream.finished(id, this.settings.dryRunWaitMs, response ? hangUpSignal(response) : new AbortController().signal);
    const job = await this.runs.get(id);
    if (job.finished_at === null) response?.status(ACCEPTED);
    return job;
  }
}
