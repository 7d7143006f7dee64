import { LOSS_CODES, NO_TENSOR, type Tensor } from '../../../kernels/binding/kernels.js';
import type { PackedBatch, PackedTargets } from '../../tokens/batch.js';
import { ROW_METRICS, type LossSpec, type LossSums } from '../../tokens/loss.js';
import { checkLossBatch, checkNormalizer, type Recompute, type SequenceWork } from '../engine.js';
import { Operations, type Activation } from './operations.js';
import { hiddenStates } from './packed-pass.js';
import { reserve, type EngineCore } from './plan.js';
import type { PassCore } from './rehearsal.js';
import { Tape } from './tape.js';
import { withoutPause } from './turns.js';

const COLUMNS = ROW_METRICS.length;

/** A batch with its loss. `normalizer` makes it a training pass: gradients of sum / normalizer are added to the parameters'. */
export interface LossPass {
  readonly batch: PackedBatch;
  readonly loss: LossSpec;
  readonly normalizer?: number;
  /** Of a training pass; default `none`. */
  readonly recompute?: Recompute;
  /** Awaited between layers; may throw to stop. */
  readonly breathe: () => Promise<void>;
}

/** @throws BatchInvalid, BatchTooLarge before any work. */
export async function runLoss(core: EngineCore, pass: LossPass): Promise<LossSums> {
  const { batch, loss, normalizer } = pass;
  checkLossBatch(batch, loss, core.config);
  if (normalizer !== undefined) checkNormalizer(normalizer);
  await pass.breathe();
  if (batch.rows_R.length === 0) return { lossNats: 0, weightSum: 0, rowMetrics_RM: new Float32Array(0) };
  const work = workOf(pass);
  await reserve(core, { what: `a batch of ${work.tokens} tokens`, work, pass: (rehearsed) => passLoss(rehearsed, { ...pass, breathe: withoutPause }) });
  if (normalizer !== undefined) core.parameters.startTraining();
  return passLoss(core, pass);
}

/** The arithmetic of `runLoss`, in the arena as it is. */
export async function passLoss(core: PassCore, pass: LossPass): Promise<LossSums> {
  const { batch, loss, normalizer, recompute } = pass;
  const tape = normalizer === undefined ? undefined : new Tape();
  const hidden_RD = await hiddenStates(new Operations(core.kernels, core.arena, { tape, recompute: recompute === 'layers' }), core, { ...batch, breathe: pass.breathe });
  const rowMetrics_RM = applyHead(core, { batch, loss, normalizer }, hidden_RD);
  await tape?.backward(pass.breathe);
  return { ...sums(batch.weights_R, rowMetrics_RM), rowMetrics_RM };
}

function workOf({ batch: { tokens_N, cuSeqlens_S1, rows_R, targets }, normalizer, recompute }: LossPass): SequenceWork {
  const rows = rows_R.length;
  return { kind: normalizer === undefined ? 'evaluate' : 'train', sequences: cuSeqlens_S1.length - 1, tokens: tokens_N.length, rows, k: Math.ceil((targets?.ids_E.length ?? rows) / rows), recompute };
}

// Head, loss and, in training, the gradients that start the way back.
function applyHead(core: PassCore, { batch, loss, normalizer }: Omit<LossPass, 'breathe'>, hidden_RD: Activation): Float32Array {
  const { kernels, arena, parameters, config } = core;
  const picked = batch.rows_R.length;
  const isTraining = normalizer !== undefined;
  if (isTraining) hidden_RD.grad = arena.take('bf16', [picked, config.hiddenSize]);
  const metrics_RM = arena.take('f32', [picked, COLUMNS]);
  const scale = 1 / (normalizer ?? 1);
  const targets = targetTensors(core, batch.targets);
  kernels.distillHead(
    LOSS_CODES[loss.kind], hidden_RD.value, parameters.head.weight, intTensor(core, batch.labels_R), floatTensor(core, batch.weights_R.map((weight) => weight * scale)),
    targets.offsets_R1, targets.ids_E, targets.logProbs_E, targets.tail_R,
    metrics_RM, hidden_RD.grad, isTraining ? parameters.head.grad : NO_TENSOR,
  );
  const rowMetrics_RM = new Float32Array(picked * COLUMNS);
  kernels.read(metrics_RM, rowMetrics_RM);
  return rowMetrics_RM;
}

function targetTensors(core: PassCore, targets: PackedTargets | undefined): Record<keyof PackedTargets, Tensor> {
  if (!targets) return { offsets_R1: NO_TENSOR, ids_E: NO_TENSOR, logProbs_E: NO_TENSOR, tail_R: NO_TENSOR };
  return {
    offsets_R1: intTensor(core, targets.offsets_R1),
    ids_E: intTensor(core, targets.ids_E),
    logProbs_E: floatTensor(core, targets.logProbs_E),
    tail_R: floatTensor(core, targets.tail_R),
  };
}

function intTensor({ kernels, arena }: PassCore, values: Int32Array): Tensor {
  const tensor = arena.take('i32', [values.length]);
  kernels.write(tensor, values);
  return tensor;
}

function floatTensor({ kernels, arena }: PassCore, values: Float32Array): Tensor {
  const tensor = arena.take('f32', [values.length]);
  kernels.write(tensor, values);
  return tensor;
}

function sums(weights_R: Float32Array, rowMetrics_RM: Float32Array): { lossNats: number; weightSum: number } {
  let lossNats = 0;
  let weightSum = 0;
  for (let r = 0; r < weights_R.length; r++) {
    lossNats += weights_R[r] * rowMetrics_RM[r * COLUMNS];
    weightSum += weights_R[r];
  }
  return { lossNats, weightSum };
}
