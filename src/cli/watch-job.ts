import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { AppError } from '../common/errors.js';
import type { RunEvent, StepMetrics } from '../distillation/events.js';
import { STAGE_ORDER, type TrainingStage } from '../distillation/stage-order.js';
import { Job } from '../runs/runs.schema.js';
import type { ApiClient } from './api-client.js';
import { ApiUnreachable } from './api-errors.js';
import type { ServerEvent } from './event-stream.js';
import type { ProgressView } from './progress.js';

/** Between attempts to find a stream again, and how many in a row: a service that restarts is back by then. */
const RECONNECT_MS = 1_000;
const RECONNECTS = 60;

const stage = z.enum(STAGE_ORDER);
const EventData = z.object({ level: z.string(), message: z.string(), data: z.looseObject({ type: z.string() }) });
const Started = z.object({ stage });
const Finished = z.object({ stage, seconds: z.number() });
const Checked = z.object({ check: z.string(), found: z.string() });
const Loaded = z.object({ stage: z.enum(['distill', 'align']), first_step: z.int() });
const ProgressData = z.object({ stage, label: z.string(), done: z.number(), total: z.number(), unit: z.string(), rate: z.number() });
const MetricsData = z.object({ series: z.array(z.object({ key: z.string(), points: z.array(z.object({ step: z.int(), value: z.number().nullable() })) })) });

/** A job that was watched did not succeed; says how it ended and why. */
export class JobEndedOtherwise extends AppError {
  readonly code = 'cli.job_not_succeeded';
  readonly kind = 'conflict';
}

/** Shows a job's stream until the job is finished, going on where it broke off. @returns the finished job, however it ended. @throws ApiUnreachable, Aborted */
export async function watchJob(client: ApiClient, id: string, { view, signal }: { readonly view: ProgressView; readonly signal?: AbortSignal }): Promise<Job> {
  const path = `/v1/fine_tuning/jobs/${encodeURIComponent(id)}`;
  const reader = new StreamReader(view);
  for (let failures = 0; !reader.isDone; ) {
    try {
      for await (const event of client.stream(`${path}/stream`, { lastEventId: reader.lastId, signal })) {
        failures = 0;
        reader.take(event);
      }
    } catch (error) {
      if (!(error instanceof ApiUnreachable) || ++failures > RECONNECTS) throw error;
      await sleep(RECONNECT_MS);
    }
  }
  return client.get(path, Job, signal);
}

/** @throws JobEndedOtherwise unless the job succeeded. */
export function expectSuccess(job: Job): Job {
  if (job.status === 'succeeded') return job;
  throw new JobEndedOtherwise(`job ${job.id} is ${job.status}${job.error ? `: ${job.error.code}: ${job.error.message}` : ''}`);
}

/** Turns the messages of a job's stream into the events of a run. */
class StreamReader {
  lastId: string | undefined;
  isDone = false;
  readonly #totals = new Map<string, number>();

  constructor(private readonly view: ProgressView) {}

  take({ id, event, data }: ServerEvent): void {
    this.lastId = id ?? this.lastId;
    if (event === 'done') this.isDone = true;
    for (const told of this.read(event, JSON.parse(data))) this.view.show(told);
  }

  private read(event: string, data: unknown): RunEvent[] {
    if (event === 'progress') {
      const progress = ProgressData.parse(data);
      this.#totals.set(progress.stage, progress.total);
      return [{ kind: 'progress', ...progress }];
    }
    if (event === 'metrics') return this.steps(MetricsData.parse(data));
    return event === 'event' ? happening(EventData.parse(data)) : [];
  }

  /** The newest step of each training stage in a batch of points. */
  private steps({ series }: z.output<typeof MetricsData>): RunEvent[] {
    return (['distill', 'align'] as const).flatMap((name) => {
      const own = series.filter(({ key }) => key.startsWith(`${name}/`));
      const step = Math.max(0, ...own.flatMap(({ points }) => points.map((point) => point.step)));
      const values = Object.fromEntries(own.map(({ key, points }) => [key.slice(name.length + 1), points.find((point) => point.step === step)?.value ?? undefined]));
      return step > 0 && typeof values.loss === 'number' ? [{ kind: 'step' as const, metrics: stepOf(values, { stage: name, step, steps: this.#totals.get(name) ?? 0 }) }] : [];
    });
  }
}

function stepOf(values: Readonly<Record<string, number | undefined>>, place: { stage: TrainingStage; step: number; steps: number }): StepMetrics {
  const of = (name: string): number => values[name] ?? NaN;
  const known = { loss: of('loss'), grad_norm: of('grad_norm'), learning_rate: of('learning_rate'), tokens: of('tokens'), loss_tokens: of('loss_tokens'), seconds: of('seconds'), tokens_per_second: of('tokens_per_second') };
  return { ...values, ...known, ...place };
}

function happening({ level, message, data }: z.output<typeof EventData>): RunEvent[] {
  switch (data.type) {
    case 'stage.started':
    case 'stage.resumed': {
      const { stage: name } = Started.parse(data);
      return [{ kind: 'stage_started', stage: name, label: name }];
    }
    case 'stage.finished': {
      const { stage: name, seconds } = Finished.parse(data);
      return [{ kind: 'stage_finished', stage: name, label: name, seconds }];
    }
    case 'check.passed':
    case 'check.warned': {
      const { check, found } = Checked.parse(data);
      return [{ kind: 'check', name: check, verdict: data.type === 'check.passed' ? 'passed' : 'warned', found }];
    }
    case 'checkpoint.loaded': {
      const { stage: name, first_step: firstStep } = Loaded.parse(data);
      return [{ kind: 'resumed', stage: name, firstStep }];
    }
    default:
      return level === 'info' ? [] : [{ kind: 'warning', message }];
  }
}
