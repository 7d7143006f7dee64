import { z } from 'zod';
import type { RunEvent, StepMetrics } from '../distillation/events.js';
import type { ServerEvent } from './event-stream.js';

const stageName = z.enum(['validate', 'collect', 'distill', 'align', 'evaluate', 'export', 'controls']);
const trainingStage = z.enum(['distill', 'align']);

const Progress = z.object({ stage: stageName, label: z.string(), done: z.number(), total: z.number(), unit: z.string(), rate: z.number() });
const Happened = z.object({ message: z.string(), level: z.enum(['info', 'warn', 'error']), data: z.looseObject({ type: z.string() }) });
const StageData = z.object({ stage: stageName });
const FinishedData = z.object({ stage: stageName, seconds: z.number() });
const CheckData = z.object({ check: z.string(), found: z.string() });
const LoadedData = z.object({ stage: trainingStage, first_step: z.number() });
const Measured = z.object({ series: z.array(z.object({ key: z.string(), points: z.array(z.object({ step: z.number(), value: z.union([z.number(), z.string()]) })) })) });

/** Turns the stream of a job into the events that `limbeck distill` shows. What a newer service says beyond them is passed over. */
export class JobEvents {
  /** Steps of each training stage, as its progress told them. */
  private readonly steps = new Map<string, number>();

  of({ event, data }: ServerEvent): RunEvent[] {
    const value: unknown = JSON.parse(data);
    if (event === 'progress') return this.progress(value);
    if (event === 'event') return happened(value);
    return event === 'metrics' ? this.lastStep(value) : [];
  }

  private progress(value: unknown): RunEvent[] {
    const told = Progress.safeParse(value).data;
    if (!told) return [];
    if (told.unit === 'steps') this.steps.set(told.stage, told.total);
    return [{ kind: 'progress', ...told }];
  }

  /** The last of the steps that came together: a line shows one. Who watches a job that ended may meet points of which no progress is left. */
  private lastStep(value: unknown): RunEvent[] {
    const series = Measured.safeParse(value).data?.series ?? [];
    const step = Math.max(...series.flatMap(({ points }) => points.map((point) => point.step)));
    const stage = trainingStage.safeParse(series[0]?.key.split('/')[0]).data;
    if (!stage || !Number.isFinite(step)) return [];
    const values = series.flatMap(({ key, points }) => points.filter((point) => point.step === step).map((point): [string, number] => [key.slice(stage.length + 1), Number(point.value)]));
    return [{ kind: 'step', metrics: { ...NOTHING_MEASURED, ...Object.fromEntries(values), stage, step, steps: this.steps.get(stage) ?? NaN } }];
  }
}

const NOTHING_MEASURED: Omit<StepMetrics, 'stage' | 'step' | 'steps'> = { loss: NaN, grad_norm: NaN, learning_rate: NaN, tokens: 0, loss_tokens: 0, seconds: 0, tokens_per_second: 0 };

function happened(value: unknown): RunEvent[] {
  const told = Happened.safeParse(value).data;
  if (!told) return [];
  const { message, level, data } = told;
  const known = knownEvent(data);
  if (known) return [known];
  return level === 'info' || data.type === 'job.failed' ? [] : [{ kind: 'warning', message }]; // how the job ended is told at its end
}

function knownEvent(data: { readonly type: string }): RunEvent | undefined {
  switch (data.type) {
    case 'stage.started':
    case 'stage.resumed':
      return withData(StageData, data, ({ stage }) => ({ kind: 'stage_started', stage, label: stage }));
    case 'stage.finished':
      return withData(FinishedData, data, ({ stage, seconds }) => ({ kind: 'stage_finished', stage, label: stage, seconds }));
    case 'check.passed':
    case 'check.warned':
      return withData(CheckData, data, ({ check, found }) => ({ kind: 'check', name: check, verdict: data.type === 'check.passed' ? 'passed' : 'warned', found }));
    case 'checkpoint.loaded':
      return withData(LoadedData, data, ({ stage, first_step }) => ({ kind: 'resumed', stage, firstStep: first_step }));
    default:
      return undefined;
  }
}

function withData<Data>(schema: z.ZodType<Data>, data: unknown, eventOf: (data: Data) => RunEvent): RunEvent | undefined {
  const read = schema.safeParse(data);
  return read.success ? eventOf(read.data) : undefined;
}
