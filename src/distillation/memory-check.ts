import { largestThat } from '../common/largest-that.js';
import type { Engine, MemoryForecast, Work } from '../engine/engine.js';
import { parameterCount } from '../model-files/parameters.js';
import { PreflightFailed } from './distillation.errors.js';
import type { Check, Subject } from './preflight.js';
import { longestPrompt } from './prompts.js';
import type { DistillationSpec } from './spec.js';

/** What decides the memory of a run. */
export type MemorySubject = Pick<Subject, 'spec' | 'config' | 'training' | 'heldOut' | 'freeMemoryBytes'>;

/** The check `memory`, and the bytes that it foresaw. */
export interface MemoryChecked {
  readonly check: Check;
  readonly memoryBytes: number;
}

/** A part of the spec that could be smaller. */
interface Knob {
  readonly name: string;
  readonly value: number;
  readonly turnedTo: (value: number) => DistillationSpec;
}

/** A target entry in memory: int32 id and float32 log-prob. */
const BYTES_PER_TARGET = 8;

/** The largest works that a run asks of the engine, every completion as long as its limit allows. */
export function worksOf(plan: DistillationSpec, { training, heldOut: all }: Pick<MemorySubject, 'training' | 'heldOut'>): Work[] {
  const { collect, align, evaluate, micro_batch_tokens, recompute, targets } = plan;
  const heldOut = all.slice(0, evaluate.prompts);
  const batch = (kind: 'train' | 'evaluate', prompts: Subject['training'], completion: number): Work => {
    const sequence = longestPrompt(prompts) + completion;
    const tokens = Math.max(micro_batch_tokens, sequence);
    const meanPrompt = prompts.reduce((sum, { ids_T }) => sum + ids_T.length, 0) / Math.max(1, prompts.length);
    return { kind, sequences: Math.floor(tokens / sequence), tokens, rows: Math.ceil((tokens * completion) / (meanPrompt + completion)), k: targets.top_k + 1, ...(kind === 'train' ? { recompute } : {}) };
  };
  const sampled = (prompts: Subject['training'], { distinct, samples = 1, maxTokens }: { distinct: number; samples?: number; maxTokens: number }): Work =>
    ({ kind: 'sample', prompts: distinct * samples, distinct, promptTokens: Math.max(1, longestPrompt(prompts)), maxTokens });
  return [
    batch('train', training, Math.max(collect.max_tokens, align.max_tokens)),
    batch('evaluate', heldOut, Math.max(collect.max_tokens, evaluate.max_tokens)),
    sampled(heldOut, { distinct: evaluate.prompts, samples: evaluate.rollouts_per_prompt, maxTokens: evaluate.max_tokens }),
    ...(align.steps > 0 ? [sampled(training, { distinct: align.prompts_per_step, maxTokens: align.max_tokens })] : []),
  ];
}

/** Checks that the run's memory is there. @throws PreflightFailed with the bytes needed and free, and what in the spec would make it fit. */
export async function checkMemory(subject: MemorySubject, engine: Engine): Promise<MemoryChecked> {
  const { spec, freeMemoryBytes: free } = subject;
  const plan = spec.method.distillation;
  const forecast = await engine.foresee(worksOf(plan, subject));
  const memoryBytes = Math.ceil(forecast.peakBytes + targetBytes(plan, subject));
  if (free === undefined) return { memoryBytes, check: { name: 'memory', verdict: 'warned', found: `${gibibytes(memoryBytes)} are needed; how much is free is unknown here` } };
  if (memoryBytes > free) {
    throw new PreflightFailed('memory', `${gibibytes(memoryBytes)} are needed and ${gibibytes(free)} are free`, await remedies(subject, { engine, free, forecast, memoryBytes }));
  }
  return { memoryBytes, check: { name: 'memory', verdict: 'passed', found: `${gibibytes(memoryBytes)} of ${gibibytes(free)} free` } };
}

// The collected targets lie in memory as a whole while they are trained on.
function targetBytes({ collect, targets }: DistillationSpec, { training }: Pick<MemorySubject, 'training'>): number {
  return training.length * collect.samples_per_prompt * collect.max_tokens * targets.top_k * BYTES_PER_TARGET;
}

interface Short {
  readonly engine: Engine;
  readonly free: number;
  readonly forecast: MemoryForecast;
  readonly memoryBytes: number;
}

async function remedies(subject: MemorySubject, { engine, free, forecast, memoryBytes }: Short): Promise<string> {
  const bytesFor = async (plan: DistillationSpec): Promise<number> => (await engine.foresee(worksOf(plan, subject))).peakBytes + targetBytes(plan, subject);
  const found: string[] = [];
  const distillation = subject.spec.method.distillation;
  const recomputed = distillation.recompute === 'layers' ? Infinity : await bytesFor({ ...distillation, recompute: 'layers' });
  if (recomputed <= free) found.push(`recompute: layers (${gibibytes(recomputed)})`);
  for (const { name, value, turnedTo } of knobsOf(distillation)) {
    const most = await largestThat(value - 1, async (smaller) => (await bytesFor(turnedTo(smaller))) <= free);
    if (most > 0) found.push(`${name} at most ${most} (${gibibytes(await bytesFor(turnedTo(most)))})`);
  }
  const parameters = parameterCount(subject.config);
  const fewer = Math.floor(parameters - ((memoryBytes - free) * parameters) / forecast.residentBytes);
  if (fewer > 0) found.push(`a student of at most ${fewer} parameters where this one has ${parameters} (${gibibytes(free)})`);
  return found.length === 0 ? 'no single smaller setting would fit; choose a much smaller student, or free some memory' : `any of these would fit: ${found.join('; ')}`;
}

function knobsOf(plan: DistillationSpec): Knob[] {
  const { collect, align, evaluate, targets } = plan;
  const shortened = (most: number): DistillationSpec => ({
    ...plan,
    collect: { ...collect, max_tokens: Math.min(most, collect.max_tokens) },
    align: { ...align, max_tokens: Math.min(most, align.max_tokens) },
    evaluate: { ...evaluate, max_tokens: Math.min(most, evaluate.max_tokens) },
  });
  return [
    { name: 'micro_batch_tokens', value: plan.micro_batch_tokens, turnedTo: (micro_batch_tokens) => ({ ...plan, micro_batch_tokens }) },
    { name: 'max_tokens of collect, align and evaluate', value: Math.max(collect.max_tokens, align.max_tokens, evaluate.max_tokens), turnedTo: shortened },
    { name: 'targets.top_k', value: targets.top_k, turnedTo: (top_k) => ({ ...plan, targets: { ...targets, top_k } }) },
    {
      name: 'prompts_per_step of align and prompts of evaluate', value: Math.max(align.prompts_per_step, evaluate.prompts),
      turnedTo: (most) => ({ ...plan, align: { ...align, prompts_per_step: Math.min(most, align.prompts_per_step) }, evaluate: { ...evaluate, prompts: Math.min(most, evaluate.prompts) } }),
    },
  ];
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}
