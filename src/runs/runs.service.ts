import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { Database } from '../database/database.js';
import { listOf, type List } from '../http/page.js';
import { jobOf } from './job-view.js';
import { isFinished } from './run-states.js';
import { CursorUnknown, JobNotFinished, RunUnknown } from './runs.errors.js';
import { RunsRepository, type RunFilter } from './runs.repository.js';
import type { RunState } from './runs.rows.js';
import type { Job, JobDeleted } from './runs.schema.js';

/** Jobs as the API shows them: look at one or many, delete one. */
@Injectable()
export class RunsService {
  constructor(
    private readonly database: Database,
    private readonly repository: RunsRepository,
    @Inject(API_SETTINGS) private readonly settings: Pick<ApiSettings, 'storeDir'>,
  ) {}

  /** @throws RunUnknown */
  async get(id: string): Promise<Job> {
    const run = await this.repository.find(id);
    if (!run) throw new RunUnknown(id);
    const stages = await this.repository.stagesOf([id]);
    return jobOf(run, stages.get(id) ?? [], now());
  }

  /** Where a job stands, without what hangs on it. @throws RunUnknown */
  async state(id: string): Promise<RunState> {
    const state = await this.repository.state(id);
    if (!state) throw new RunUnknown(id);
    return state;
  }

  /** A page of jobs, newest first. @throws CursorUnknown */
  async list({ limit, ...filter }: RunFilter & { readonly limit: number }): Promise<List<Job>> {
    const runs = await this.repository.list(filter, limit + 1);
    if (runs.length === 0 && filter.after !== undefined && !(await this.repository.state(filter.after))) throw new CursorUnknown(filter.after);
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

/** Unix seconds. */
function now(): number {
  return Math.floor(Date.now() / 1000);
}
