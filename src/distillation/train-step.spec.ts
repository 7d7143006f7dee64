import { describe, expect, it, vi } from 'vitest';
import { ReferenceEngine } from '../engine/reference/reference-engine.js';
import type { ModelConfig } from '../model-files/config.js';
import { TINY_MODEL, tinyTensors } from '../../test/support/tiny-model.js';
import { rollOut, plainSampling } from './rollouts.js';
import { decodeShard, encodeShard, type ShardSample } from './shards.js';
import { trainStep } from './train-step.js';

const model = { ...TINY_MODEL, layers: 1, tokenizer: 'none' as const };
const config: ModelConfig = {
  architecture: 'llama', vocabSize: model.vocab, hiddenSize: model.hidden, intermediateSize: model.intermediate, layers: 1, heads: model.heads, kvHeads: model.kvHeads,
  headDim: model.headDim, rmsNormEps: 1e-5, ropeTheta: 1e4, ropeScaling: null, maxPositions: 64, tiedEmbeddings: true, bosId: null, eosIds: [2], padId: null,
};
const openEngine = (seed: number) =>
  ReferenceEngine.fromWeights(config, new Map(tinyTensors({ ...model, seed }).map(({ name, values }) => [name, Float64Array.from(values)])));

/** Answers an engine wrote to five prompts, with its own top-8 scores. */
async function taughtBy(engine: ReferenceEngine): Promise<ShardSample[]> {
  const prompts = [3, 4, 5, 6, 7].map((length) => Int32Array.from({ length }, (_, t) => 10 * length + t));
  const rollouts = await rollOut(engine, { prompts, sampling: plainSampling(6, [2]), key: { seed: 1, stage: 1, step: 1 } });
  const samples: ShardSample[] = [];
  for (const [origin, { prompt_T, completion_T, finish }] of rollouts.entries()) {
    const sequences = [{ ids_T: Int32Array.of(...prompt_T, ...completion_T), from: prompt_T.length }];
    for await (const targets of engine.score({ sequences, k: 8 })) samples.push({ origin, prompt_T, completion_T, finish, targets });
  }
  return samples;
}

const adam = { learningRate: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, clip: 1 };
const forward = { kind: 'forward_kl', truncation: 'tail_bucket' } as const;
const lossTokensOf = (samples: readonly ShardSample[]) => samples.reduce((sum, { completion_T }) => sum + completion_T.length, 0);

describe('trainStep', () => {
  it('takes the same step however the batch is cut', async () => {
    const samples = await taughtBy(openEngine(1));
    const norms: number[] = [];
    for (const microBatchTokens of [1000, 25, 1]) {
      const step = { samples, lossTokens: lossTokensOf(samples), loss: forward, optim: adam, microBatchTokens };
      norms.push((await trainStep(openEngine(2), step)).gradNorm);
    }

    expect(norms[0]).toBeGreaterThan(0.1);
    for (const norm of norms) expect(Math.abs(norm / norms[0] - 1)).toBeLessThan(1e-12);
  });

  it('lowers the loss it trains on, and reports the mean over the rows', async () => {
    const samples = await taughtBy(openEngine(1));
    const engine = openEngine(2);
    const step = { samples, lossTokens: lossTokensOf(samples), loss: forward, optim: { ...adam, learningRate: 1e-2 }, microBatchTokens: 64 };

    const first = await trainStep(engine, step);
    const second = await trainStep(engine, step);

    expect(first.means.loss).toBeCloseTo(first.means.forwardKl, 12);
    expect(first.labelLogProbs_R.length).toBe(step.lossTokens);
    expect(first.tokens).toBe(step.lossTokens + 3 + 4 + 5 + 6 + 7);
    expect(second.means.loss).toBeLessThan(first.means.loss);
  });

  it('finds at most 1e-4 nats between a model and its own scores kept in a shard', async () => {
    const engine = openEngine(1);
    const about = { format: 'limbeck-targets-1', teacher: '', tokenizer: '', template: '', mode: 'plain', tau: '1', k: '8', sampling: '', request: '', empty: '0', seconds: '0' } as const;
    const { samples } = decodeShard(encodeShard(await taughtBy(engine), about), 'shard');

    for (const loss of [forward, { kind: 'reverse_kl', truncation: 'tail_bucket' } as const]) {
      const { means, gradNorm } = await trainStep(engine, { samples, lossTokens: lossTokensOf(samples), loss, optim: { ...adam, learningRate: 0 }, microBatchTokens: 64 });
      expect(Math.abs(means.loss)).toBeLessThan(1e-4);
      expect(gradNorm).toBeLessThan(1e-2);
    }
  });

  it.each(['none', 'layers'] as const)('has the engine recompute %s', async (recompute) => {
    const samples = await taughtBy(openEngine(1));
    const engine = openEngine(2);
    const asked = vi.spyOn(engine, 'forwardBackward');

    await trainStep(engine, { samples, lossTokens: lossTokensOf(samples), loss: forward, optim: adam, microBatchTokens: 25, recompute });

    expect(asked.mock.calls.length).toBeGreaterThan(1);
    for (const [, , , options] of asked.mock.calls) expect(options?.recompute).toBe(recompute);
  });

  it('changes nothing when it is stopped', async () => {
    const samples = await taughtBy(openEngine(1));
    const engine = openEngine(2);
    const before = await engine.readWeights();

    const stopped = trainStep(engine, { samples, lossTokens: lossTokensOf(samples), loss: forward, optim: adam, microBatchTokens: 64 }, AbortSignal.abort());

    await expect(stopped).rejects.toMatchObject({ code: 'common.aborted' });
    expect(await engine.readWeights()).toEqual(before);
  });
});
