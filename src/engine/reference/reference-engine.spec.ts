import { describe, expect, it } from 'vitest';
import { joinSupports, listed, packSequences, scoredBatch, weightOf } from '../../../test/support/scored-batch.js';
import { TINY_FAMILIES, TINY_MODEL, tinyConfig, tinyTensors, type TinyModelOptions } from '../../../test/support/tiny-model.js';
import { LOSS_KINDS, type LossKind, type LossSpec } from '../../tokens/loss.js';
import { type ScoreSequence, TAIL_FLOOR } from '../../tokens/target.js';
import { ReferenceEngine } from './reference-engine.js';
import type { ReferenceBatch } from './requests.js';

const SMALL: TinyModelOptions = { ...TINY_MODEL, layers: 2, hidden: 8, intermediate: 6, heads: 2, kvHeads: 1, headDim: 4, vocab: 13 };
const SEQUENCES: ScoreSequence[] = [
  { ids_T: Int32Array.of(3, 7, 1, 12, 0), from: 2 },
  { ids_T: Int32Array.of(5), from: 1 },
  { ids_T: Int32Array.of(9, 2, 2, 8), from: 1 },
];

const lossOf = (kind: LossKind): LossSpec => (kind === 'hard' ? { kind } : { kind, truncation: 'tail_bucket' });

function weightsOf(model: TinyModelOptions): Map<string, Float64Array> {
  return new Map(tinyTensors(model).map(({ name, values }) => [name, Float64Array.from(values)]));
}

function engineOf(model: TinyModelOptions, weights = weightsOf(model)): ReferenceEngine {
  return ReferenceEngine.fromWeights(tinyConfig(model), weights);
}

/** Central differences of the loss by every value of one tensor. */
async function differences(model: TinyModelOptions, name: string, loss: (engine: ReferenceEngine) => Promise<number>): Promise<Float64Array> {
  const h = 1e-5;
  const weights = weightsOf(model);
  const values = weights.get(name) ?? new Float64Array(0);
  const found = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const original = values[i];
    values[i] = original + h;
    const above = await loss(engineOf(model, weights));
    values[i] = original - h;
    const below = await loss(engineOf(model, weights));
    values[i] = original;
    found[i] = (above - below) / (2 * h);
  }
  return found;
}

function relativeDistance(found: Float64Array, wanted: Float64Array): number {
  const distance = wanted.reduce((sum, value, i) => sum + (value - found[i]) ** 2, 0);
  return Math.sqrt(distance / wanted.reduce((sum, value) => sum + value ** 2, 0));
}

describe.each([
  ['tied', { ...SMALL, tied: true }],
  ['untied', { ...SMALL, tied: false }],
  ['of Llama 3', { ...SMALL, headDim: 6, layers: 1, ...TINY_FAMILIES.llama3 }],
  ['of Qwen2', { ...SMALL, layers: 1, ...TINY_FAMILIES.qwen2 }],
  ['of Qwen3', { ...SMALL, layers: 1, ...TINY_FAMILIES.qwen3 }],
])('gradients of a whole model, %s', (_, model) => {
  it.each(LOSS_KINDS)('%s agrees with central differences in every tensor', async (kind) => {
    const batch = await scoredBatch(engineOf({ ...model, seed: 9 }), SEQUENCES, 3);
    const engine = engineOf(model);
    await engine.forwardBackward(batch, lossOf(kind), weightOf(batch));
    for (const [name, gradient] of await engine.readGradients()) {
      const numeric = await differences(model, name, async (moved) => (await moved.forward(batch, lossOf(kind))).lossNats / weightOf(batch));
      expect(relativeDistance(gradient, numeric), name).toBeLessThan(1e-6);
    }
  });
});

describe('self-distillation from its own score', () => {
  async function ownBatch(engine: ReferenceEngine): Promise<ReferenceBatch> {
    const blocks = await listed(engine.scoreExactly({ sequences: SEQUENCES, k: 3 }));
    const logProbs_E = Float64Array.from(blocks.flatMap(({ logProbs_S }) => [...logProbs_S]));
    const tail_R = Float64Array.from(blocks.flatMap((block) => [...block.tail_R]));
    return { ...packSequences(SEQUENCES), targets: { ...joinSupports(blocks), logProbs_E, tail_R } };
  }

  it.each(['forward_kl', 'reverse_kl'] as const)('%s has neither loss nor gradient', async (kind) => {
    const engine = engineOf(SMALL);
    const batch = await ownBatch(engine);
    expect(Math.min(...(batch.targets?.tail_R ?? []))).toBeGreaterThan(TAIL_FLOOR);
    const { lossNats } = await engine.forwardBackward(batch, lossOf(kind), 1);
    expect(Math.abs(lossNats)).toBeLessThanOrEqual(1e-9);
    for (const gradient of (await engine.readGradients()).values()) {
      expect(gradient.reduce((most, g) => Math.max(most, Math.abs(g)), 0)).toBeLessThanOrEqual(1e-9);
    }
  });
});

describe('optimStep', () => {
  it('moves each weight against the sign of its gradient at the first step, and decays it', async () => {
    const engine = engineOf(SMALL);
    const before = await engine.readWeights();
    const batch = await scoredBatch(engineOf({ ...SMALL, seed: 9 }), SEQUENCES, 3);
    await engine.forwardBackward(batch, lossOf('forward_kl'), 1);
    const gradients = await engine.readGradients();
    await engine.optimStep({ learningRate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: Infinity });
    for (const [name, after] of await engine.readWeights()) {
      after.forEach((weight, i) => {
        const old = before.get(name)?.[i] ?? NaN;
        const g = gradients.get(name)?.[i] ?? NaN;
        // With one step behind it, mhat is g and vhat is g squared.
        expect(weight).toBeCloseTo(old - 0.01 * (g / (Math.abs(g) + 1e-8) + 0.1 * old), 12);
      });
    }
  });

  it('refuses an infinite gradient, drops it and changes nothing', async () => {
    const engine = engineOf(SMALL);
    const batch = await scoredBatch(engineOf({ ...SMALL, seed: 9 }), SEQUENCES, 3);
    const before = await engine.readWeights();
    await engine.forwardBackward(batch, lossOf('hard'), Number.MIN_VALUE);
    const step = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1 };
    await expect(engine.optimStep(step)).rejects.toMatchObject({ code: 'engine.gradient_not_finite' });
    expect(await engine.readWeights()).toEqual(before);
    expect((await engine.describe()).step).toBe(0);
    expect((await engine.optimStep({ ...step, learningRate: 0 })).gradNorm).toBe(0);
  });
});
