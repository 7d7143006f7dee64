import { spawn, type ChildProcess } from 'node:child_process';
import { NativeEngine } from '../../engine/native/native-engine.js';
import type { Engine, Recompute } from '../../engine/engine.js';
import { readModelConfig } from '../../model-files/config.js';
import type { PackedBatch } from '../../tokens/batch.js';
import { distillBatch } from './batches.js';
import type { Case, Scope, Setting } from './case.js';
import { figure, type Figure } from './figure.js';
import { median } from './median.js';
import { clockNativeCalls } from './native-time.js';
import { betterRates, rateProducts } from './onednn.js';
import { trainingSeconds } from './roofline.js';
import type { ShapeName } from './shapes.js';
import { attentionFlops, stepProducts } from './step-products.js';
import { secondsUntil } from './turns.js';

/** Sequences of a step, every row with loss. */
export interface StepPlan {
  readonly lengths: readonly number[];
  /** As the row says it. */
  readonly text: string;
}

/** A whole step (forward, backward, AdamW) against its roofline, and what of it passes outside native calls. @param mostRounds steps to measure, for students whose steps take long. */
export function trainStepCase(model: ShapeName, plan: StepPlan, { name, scope, mostRounds = Infinity }: Pick<Case, 'name' | 'scope'> & { readonly mostRounds?: number }): Case {
  const shape = `${model}, ${plan.text}`;
  return { name, shape, model: { name: model }, scope, measure: (setting) => measureTrainStep({ ...setting, rounds: Math.min(setting.rounds, mostRounds) }, { lengths: plan.lengths, name, shape }) };
}

async function measureTrainStep(setting: Setting, { lengths, name, shape }: { lengths: readonly number[]; name: string; shape: string }): Promise<Figure[]> {
  const { probes, rounds, kernels } = setting;
  const config = await readModelConfig(setting.modelDir);
  const batch = distillBatch(config.vocabSize, { lengths });
  const tokens = batch.tokens_N.length;
  const products = stepProducts(config, { tokens, rows: batch.rows_R.length });
  const before = rateProducts(probes, products);
  const native = clockNativeCalls(kernels);
  const seconds: number[] = [];
  const outside: number[] = [];
  await withEngine(setting, async (engine) => {
    for (let round = 0; round < rounds; round++) {
      native.reset();
      seconds.push(await secondsUntil(() => trainingStep(engine, batch)));
      outside.push(seconds[round] - native.seconds());
    }
  });
  const rates = betterRates(before, rateProducts(probes, products));
  const limit = tokens / trainingSeconds(rates, attentionFlops(config, lengths));
  return [
    figure({ name, shape, value: tokens / median(seconds), unit: 'tok/s', limit, ...(name.startsWith('gate') ? { goal: { atLeast: 0.6 } } : {}) }),
    figure({ name: "typescript's share of a train step", shape, value: 1000 * median(outside), unit: 'ms', limit: 1000 * median(seconds), goal: { atMost: 0.02 } }),
  ];
}

/** A step whose layers are computed again on the way back, against one that keeps them: speed, and the memory that the engine foresees. */
export function recomputeCase(model: ShapeName, plan: StepPlan, scope: Scope): Case {
  const shape = `${model}, ${plan.text}`;
  return { name: 'train step with layers recomputed', shape, model: { name: model }, scope, measure: (setting) => measureRecompute(setting, { lengths: plan.lengths, shape }) };
}

async function measureRecompute(setting: Setting, { lengths, shape }: { lengths: readonly number[]; shape: string }): Promise<Figure[]> {
  const { vocabSize } = await readModelConfig(setting.modelDir);
  const batch = distillBatch(vocabSize, { lengths });
  const [tokens, rows] = [batch.tokens_N.length, batch.rows_R.length];
  const seconds: Record<Recompute, number[]> = { none: [], layers: [] };
  return withEngine(setting, async (engine) => {
    await trainingStep(engine, batch);
    for (let round = 0; round < setting.rounds; round++) {
      for (const recompute of ['none', 'layers'] as const) seconds[recompute].push(await secondsUntil(() => trainingStep(engine, batch, recompute)));
    }
    const mebibytes = async (recompute: Recompute): Promise<number> => {
      const work = { kind: 'train', sequences: lengths.length, tokens, rows, k: Math.ceil((batch.targets?.ids_E.length ?? 0) / rows), recompute } as const;
      return (await engine.foresee([work])).peakBytes / 2 ** 20;
    };
    return [
      figure({ name: 'train step with layers recomputed (limit: kept)', shape, value: tokens / median(seconds.layers), unit: 'tok/s', limit: tokens / median(seconds.none) }),
      figure({ name: 'its memory (limit: kept)', shape, value: await mebibytes('layers'), unit: 'MiB', limit: await mebibytes('none') }),
    ];
  });
}

/** The same step while another process keeps one core busy, against the step alone. */
export function contentionCase(model: ShapeName, plan: StepPlan, scope: Scope): Case {
  const shape = `${model}, ${plan.text}`;
  const name = 'train step beside a busy core (limit: alone)';
  return { name, shape, model: { name: model }, scope, measure: (setting) => measureContention(setting, { lengths: plan.lengths, name, shape }) };
}

async function measureContention(setting: Setting, { lengths, name, shape }: { lengths: readonly number[]; name: string; shape: string }): Promise<Figure[]> {
  const config = await readModelConfig(setting.modelDir);
  const batch = distillBatch(config.vocabSize, { lengths });
  const alone: number[] = [];
  const beside: number[] = [];
  await withEngine(setting, async (engine) => {
    await trainingStep(engine, batch);
    for (let round = 0; round < setting.rounds; round++) {
      alone.push(await secondsUntil(() => trainingStep(engine, batch)));
      const busy = busyProcess();
      try {
        beside.push(await secondsUntil(() => trainingStep(engine, batch)));
      } finally {
        busy.kill('SIGKILL');
      }
    }
  });
  const tokens = batch.tokens_N.length;
  return [figure({ name, shape, value: tokens / median(beside), unit: 'tok/s', limit: tokens / median(alone) })];
}

// A process that only counts, until it is killed or this one is gone.
function busyProcess(): ChildProcess {
  const program = `
    process.on('disconnect', () => process.exit());
    const spin = () => { for (const end = performance.now() + 50; performance.now() < end; ); setImmediate(spin); };
    spin();`;
  return spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
}

/** Forward, backward and AdamW on one batch. */
export async function trainingStep(engine: Engine, batch: PackedBatch, recompute: Recompute = 'none'): Promise<number> {
  const { lossNats } = await engine.forwardBackward(batch, { kind: 'forward_kl', truncation: 'tail_bucket' }, batch.rows_R.length, { recompute });
  await engine.optimStep({ learningRate: 1e-6, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, clip: 1 });
  return lossNats;
}

/** What a benchmark may take of a small machine; the engine refuses a batch that needs more. */
const MEMORY_LIMIT_BYTES = 18 * 2 ** 30;

/** The engine in this very process, where its native calls can be clocked. */
export async function withEngine<T>({ modelDir, threads }: Setting, use: (engine: NativeEngine) => Promise<T>): Promise<T> {
  const engine = await NativeEngine.open({ modelDir, threads, memoryLimitBytes: MEMORY_LIMIT_BYTES });
  try {
    return await use(engine);
  } finally {
    await engine.close();
  }
}
