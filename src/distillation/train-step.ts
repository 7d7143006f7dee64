import type { Engine, OptimStep, Recompute } from '../engine/engine.js';
import { ROW_METRICS, type LossSpec, type RowMetric } from '../tokens/loss.js';
import { Aborted } from '../common/errors.js';
import { packBatch, tokensOf, type TargetedSample } from './packing.js';
import { cutMicroBatches } from './plan.js';

/** One optimiser step. */
export interface TrainStep {
  readonly samples: readonly TargetedSample[];
  /** Completion tokens of all samples: the weight of the step. */
  readonly lossTokens: number;
  readonly loss: LossSpec;
  readonly optim: OptimStep;
  /** Most tokens of a micro-batch. */
  readonly microBatchTokens: number;
  readonly recompute?: Recompute;
}

/** What a step measured on its way. */
export interface TrainedStep {
  /** Mean over the step's rows of each metric; NaN where the loss gives the engine no teacher. */
  readonly means: Readonly<Record<RowMetric, number>>;
  /** Log-prob of each row's label before the step, in the order of samples and their ids. */
  readonly labelLogProbs_R: Float64Array;
  readonly gradNorm: number;
  /** Tokens the engine read. */
  readonly tokens: number;
}

/** Gradients of all micro-batches over the weight of the whole step, then one optimiser step. @throws Aborted with the weights as they were. */
export async function trainStep(engine: Engine, step: TrainStep, signal?: AbortSignal): Promise<TrainedStep> {
  const rows: Float32Array[] = [];
  for (const samples of cutMicroBatches(step.samples, tokensOf, step.microBatchTokens)) {
    const batch = packBatch(samples, step.loss.kind);
    rows.push((await engine.forwardBackward(batch, step.loss, step.lossTokens, { recompute: step.recompute, signal })).rowMetrics_RM);
  }
  if (signal?.aborted) throw new Aborted('the training step');
  const { gradNorm } = await engine.optimStep(step.optim);
  return { means: meanMetrics(rows), labelLogProbs_R: column(rows, 'labelLogProb'), gradNorm, tokens: step.samples.reduce((sum, sample) => sum + tokensOf(sample), 0) };
}

/** One metric of every row. @param rows float32 [R x M] each, as `LossSums.rowMetrics_RM`. */
export function column(rows: readonly Float32Array[], metric: RowMetric): Float64Array {
  const at = ROW_METRICS.indexOf(metric);
  const values: number[] = [];
  for (const rows_RM of rows) {
    for (let place = at; place < rows_RM.length; place += ROW_METRICS.length) values.push(rows_RM[place]);
  }
  return Float64Array.from(values);
}

function meanMetrics(rows: readonly Float32Array[]): Record<RowMetric, number> {
  const mean = (metric: RowMetric): number => {
    const values = column(rows, metric);
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  };
  return {
    loss: mean('loss'),
    forwardKl: mean('forwardKl'),
    reverseKl: mean('reverseKl'),
    studentEntropy: mean('studentEntropy'),
    teacherEntropy: mean('teacherEntropy'),
    supportMass: mean('supportMass'),
    agreement: mean('agreement'),
    labelLogProb: mean('labelLogProb'),
  };
}
