import { NO_TENSOR, type Kernels } from '../../../kernels/binding/kernels.js';
import type { ModelConfig } from '../../model-files/config.js';
import type { Case, Scope, Setting } from './case.js';
import { figure, type Figure } from './figure.js';
import { mixedRate } from './limits.js';
import { median } from './median.js';
import { SHAPES, type ShapeName } from './shapes.js';
import { attentionFlops } from './step-products.js';
import { Tensors } from './tensors.js';
import { inTurns, mediansInTurns } from './turns.js';

/** A call that is bound by memory, and the bytes that it must move. */
interface Stream {
  readonly name: string;
  readonly bytes: number;
  readonly run: () => void;
}

/** The operations between the products, beside the bandwidth of mixed reads and writes; gradients and additions in place count as read and written. */
export function elementwiseCase(model: ShapeName, rows: number, scope: Scope): Case {
  return {
    name: 'rms_norm, rope, swiglu',
    shape: `${model}, ${rows} rows`,
    scope,
    measure: (setting) => {
      const limit = mixedRate(setting) / 1e9;
      const tensors = new Tensors(setting.kernels);
      const streams = [...normStreams(setting.kernels, tensors, SHAPES[model], rows), ...ropeAndGateStreams(setting.kernels, tensors, SHAPES[model], rows)];
      const seconds = mediansInTurns(setting.rounds, streams.map(({ run }) => run));
      tensors.free();
      return streams.map(({ name, bytes }, i) => figure({ name, shape: `${model}, ${rows} rows`, value: bytes / seconds[i] / 1e9, unit: 'GB/s', limit }));
    },
  };
}

function normStreams(kernels: Kernels, tensors: Tensors, { hiddenSize }: ModelConfig, rows: number): Stream[] {
  const wide = [rows, hiddenSize];
  const residual = tensors.random('f32', wide);
  const delta = tensors.random('f32', wide);
  const weight = tensors.random('f32', [hiddenSize]);
  const out = tensors.zeros('bf16', wide);
  const rstd = tensors.zeros('f32', [rows]);
  const dout = tensors.random('bf16', wide);
  const dresidual = tensors.random('f32', wide);
  const dweight = tensors.zeros('f32', [hiddenSize]);
  const ddelta = tensors.zeros('bf16', wide);
  return [
    { name: 'rms_norm forward', bytes: rows * hiddenSize * (4 + 4 + 4 + 2), run: () => kernels.rmsNormForward(residual, delta, weight, 1e-5, out, rstd) },
    { name: 'rms_norm backward', bytes: rows * hiddenSize * (2 + 4 + 4 + 4 + 2), run: () => kernels.rmsNormBackward(dout, residual, weight, rstd, dresidual, dweight, ddelta) },
  ];
}

function ropeAndGateStreams(kernels: Kernels, tensors: Tensors, { heads, kvHeads, headDim, intermediateSize, ropeTheta }: ModelConfig, rows: number): Stream[] {
  const qkv = tensors.random('bf16', [rows, (heads + 2 * kvHeads) * headDim]);
  const positions = tensors.of(Int32Array.from({ length: rows }, (_, n) => n % 512));
  const invFreq = tensors.of(Float32Array.from({ length: headDim / 2 }, (_, i) => ropeTheta ** ((-2 * i) / headDim)));
  const gateUp = tensors.random('bf16', [rows, 2 * intermediateSize]);
  const out = tensors.random('bf16', [rows, intermediateSize]);
  const bare = [NO_TENSOR, NO_TENSOR, NO_TENSOR, 0] as const; // neither bias nor norms of heads
  const turned = rows * (heads + kvHeads) * headDim * (2 + 2);
  return [
    { name: 'rope forward', bytes: turned, run: () => kernels.ropeForward(qkv, positions, invFreq, ...bare, heads, kvHeads, qkv) },
    { name: 'rope backward', bytes: turned, run: () => kernels.ropeBackward(qkv, NO_TENSOR, positions, invFreq, ...bare, heads, kvHeads, NO_TENSOR, NO_TENSOR, NO_TENSOR) },
    { name: 'swiglu forward', bytes: rows * intermediateSize * (4 + 2), run: () => kernels.swigluForward(gateUp, out) },
    { name: 'swiglu backward', bytes: rows * intermediateSize * (2 + 4 + 4), run: () => kernels.swigluBackward(out, gateUp, gateUp) },
  ];
}

/** Attention of one layer on packed sequences, beside what the registers can do. Work counts as in the step's roofline: a third of it forward. */
export function attentionCase(model: ShapeName, { sequences, length }: { readonly sequences: number; readonly length: number }, scope: Scope): Case {
  const shape = `${model}, ${sequences}x${length} tokens`;
  return {
    name: 'attention',
    shape,
    scope,
    measure: ({ kernels, probes, rounds }) => {
      const config = SHAPES[model];
      const tensors = new Tensors(kernels);
      const works = attentionWorks(kernels, tensors, config, { sequences, length });
      const limit = probes.registerPeak() / 1e9;
      const seconds = mediansInTurns(rounds, works);
      tensors.free();
      const flops = attentionFlops({ ...config, layers: 1 }, new Array<number>(sequences).fill(length)) / 1e9;
      return ['attention forward', 'attention backward'].map((name, i): Figure => figure({ name, shape, value: ((i + 1) * flops) / 3 / seconds[i], unit: 'GFLOP/s', limit }));
    },
  };
}

function attentionWorks(kernels: Kernels, tensors: Tensors, { heads, kvHeads, headDim }: ModelConfig, { sequences, length }: { sequences: number; length: number }): (() => void)[] {
  const rows = sequences * length;
  const qkv = tensors.random('bf16', [rows, (heads + 2 * kvHeads) * headDim]);
  const cuSeqlens = tensors.of(Int32Array.from({ length: sequences + 1 }, (_, s) => s * length));
  const out = tensors.zeros('bf16', [rows, heads * headDim]);
  const lse = tensors.zeros('f32', [rows, heads]);
  const dout = tensors.random('bf16', [rows, heads * headDim]);
  const dqkv = tensors.zeros('bf16', [rows, (heads + 2 * kvHeads) * headDim]);
  return [
    () => kernels.attentionForward(qkv, cuSeqlens, heads, kvHeads, out, lse),
    () => kernels.attentionBackward(dout, qkv, out, lse, cuSeqlens, heads, kvHeads, dqkv),
  ];
}

/** Bytes of a parameter that AdamW reads (gradient, m, v, master) and writes (the same and the bf16 weight; the gradient as zeros). */
const ADAMW_BYTES = 4 * 4 + 4 * 4 + 2;

/** AdamW on a parameter far larger than the caches, beside mixed bandwidth. */
export function adamwCase(parameters: number, scope: Scope): Case {
  const shape = `${parameters / 1e6} M parameters, ${ADAMW_BYTES} bytes each`;
  return { name: 'gate adamw', shape, scope, measure: (setting) => measureAdamw(setting, { parameters, shape }) };
}

function measureAdamw(setting: Setting, { parameters, shape }: { parameters: number; shape: string }): Figure[] {
  const { kernels, rounds } = setting;
  const tensors = new Tensors(kernels);
  const [master, m, v, grad] = Array.from({ length: 4 }, () => tensors.zeros('f32', [parameters]));
  const weight = tensors.zeros('bf16', [parameters]);
  const normClip = tensors.of(Float32Array.of(1, 1));
  const limits: number[] = [];
  const [update] = inTurns(rounds, [
    () => kernels.adamw(master, m, v, grad, weight, normClip, 1e-4, 0.9, 0.95, 1e-8, 0, 1),
    () => limits.push(mixedRate(setting)),
  ]);
  tensors.free();
  return [figure({ name: 'gate adamw', shape, value: (ADAMW_BYTES * parameters) / median(update) / 1e9, unit: 'GB/s', limit: Math.max(...limits) / 1e9, goal: { atLeast: 0.8 } })];
}
