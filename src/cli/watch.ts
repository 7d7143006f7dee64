import { setTimeout as delay } from 'node:timers/promises';
import { Aborted, AppError } from '../common/errors.js';
import { Job } from '../runs/runs.schema.js';
import type { ApiClient } from './api-client.js';
import { JobEvents } from './job-events.js';
import type { ProgressView } from './progress.js';

const RETRY_MS = 1_000;
/** How often in a row the service may not answer before the watch gives up; an API that restarts is back long before. */
const FAILURES_MOST = 60;

/** A job that was waited for did not succeed; carries the job's own code. */
export class JobNotSucceeded extends AppError {
  readonly code: `${string}.${string}`;
  readonly kind = 'conflict';
  constructor({ id, status, error }: Job) {
    super(error ? `job ${id} failed: ${error.message}` : `job ${id} was ${status}`, { param: error?.param ?? null });
    this.code = error?.code.includes('.') ? (error.code as `${string}.${string}`) : `jobs.${status}`;
  }
}

/**
 * Shows a job as it goes, across broken connections, until it has ended. The job is not touched when `signal` fires.
 * @returns the job at its end, succeeded or not. @throws ApiRefused, ApiUnreachable after a minute without an answer, Aborted
 */
export async function watchJob(client: ApiClient, id: string, view: ProgressView, signal: AbortSignal): Promise<Job> {
  const events = new JobEvents();
  let lastEventId: string | undefined;
  for (let failures = 0; failures < FAILURES_MOST; failures++) {
    try {
      for await (const event of client.stream(`${pathOf(id)}/stream`, { lastEventId, signal })) {
        if (event.event === 'done') return await client.get(pathOf(id), Job, signal);
        failures = 0;
        lastEventId = event.id;
        for (const shown of events.of(event)) view.show(shown);
      }
    } catch (error) {
      if (!(error instanceof AppError && error.retryable) || failures === FAILURES_MOST - 1) throw error;
    }
    await delay(RETRY_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) throw new Aborted('the watch');
  }
  return client.get(pathOf(id), Job, signal);
}

/** The job, when it succeeded. @throws JobNotSucceeded */
export function succeeded(job: Job): Job {
  if (job.status !== 'succeeded') throw new JobNotSucceeded(job);
  return job;
}

/** Route of a job. */
export function pathOf(id: string): string {
  return `/v1/fine_tuning/jobs/${encodeURIComponent(id)}`;
}
