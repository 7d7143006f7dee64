import { describe, expect, it } from 'vitest';
import { Engine, type MemoryForecast, type Work } from '../engine/engine.js';
import type { ModelConfig } from '../model-files/config.js';
import { parameterCount } from '../model-files/parameters.js';
import { checkMemory, worksOf, type MemorySubject } from './memory-check.js';
import { parseSpec } from './spec.js';

const MIB = 2 ** 20;
const config: ModelConfig = {
  architecture: 'llama', vocabSize: 300, hiddenSize: 8, intermediateSize: 16, layers: 2, heads: 2, kvHeads: 1, headDim: 4, rmsNormEps: 1e-5, ropeTheta: 1e4, ropeScaling: null, maxPositions: 5000,
  tiedEmbeddings: true, bosId: null, eosIds: [2], padId: null,
};
const distillation = {
  teacher: { dialect: 'vllm', base_url: 'http://t', model: 'x' },
  targets: { top_k: 16 },
  collect: { max_tokens: 60, samples_per_prompt: 2 },
  align: { max_tokens: 30, prompts_per_step: 3 },
  evaluate: { prompts: 2, rollouts_per_prompt: 5, max_tokens: 20 },
};
const parsed = (change: object = {}) => parseSpec({ model: 'm', training_file: 't', validation_file: 'v', method: { type: 'distillation', distillation: { ...distillation, ...change } } });
const prompts = (...lengths: readonly number[]) => lengths.map((length) => ({ ids_T: new Int32Array(length) }));
const subject: MemorySubject = { spec: parsed(), config, training: prompts(20, 40), heldOut: prompts(50, 10, 900), freeMemoryBytes: 10 * 2 ** 30 };

const unused = (): never => {
  throw new Error('not asked here');
};

/** Foresees 1 GiB and another for every 1024 tokens of its largest work, of which those whose layers are recomputed weigh a quarter. */
class PricedEngine extends Engine {
  async foresee(works: readonly Work[]): Promise<MemoryForecast> {
    const tokens = (work: Work): number => (work.kind === 'sample' ? Math.min(32, work.prompts) * (work.promptTokens + work.maxTokens) : work.recompute === 'layers' ? work.tokens / 4 : work.tokens);
    return { residentBytes: 2 ** 30, peakBytes: 1024 * MIB + MIB * Math.max(...works.map(tokens)) };
  }
  forward = unused;
  forwardBackward = unused;
  optimStep = unused;
  sample = unused;
  score = unused;
  save = unused;
  load = unused;
  exportWeights = unused;
  describe = unused;
  close = unused;
}

/** Of collected targets: 2 prompts x 2 answers x 60 tokens x 16 entries of 8 bytes. */
const TARGETS = 2 * 2 * 60 * 16 * 8;

describe('worksOf', () => {
  it('names the largest works of training, evaluation and sampling', () => {
    expect(worksOf(subject.spec.method.distillation, subject)).toEqual([
      { kind: 'train', sequences: 20, tokens: 2048, rows: Math.ceil((2048 * 60) / (30 + 60)), k: 17, recompute: 'none' },
      { kind: 'evaluate', sequences: 18, tokens: 2048, rows: Math.ceil((2048 * 60) / (30 + 60)), k: 17 },
      { kind: 'sample', prompts: 10, distinct: 2, promptTokens: 50, maxTokens: 20 },
      { kind: 'sample', prompts: 3, distinct: 3, promptTokens: 40, maxTokens: 30 },
    ]);
  });

  it('lets a sequence longer than a micro-batch go alone, and samples nothing for an align of no steps', () => {
    const spec = parsed({ collect: { max_tokens: 3000 }, align: { steps: 0 } });
    expect(worksOf(spec.method.distillation, subject).map((work) => [work.kind, 'tokens' in work && work.tokens, 'sequences' in work && work.sequences])).toEqual([
      ['train', 3040, 1], ['evaluate', 3050, 1], ['sample', false, false],
    ]);
  });
});

describe('checkMemory', () => {
  it('passes a run that fits with the bytes of engine and targets', async () => {
    expect(await checkMemory(subject, new PricedEngine())).toEqual({ check: { name: 'memory', verdict: 'passed', found: '3.00 GiB of 10.00 GiB free' }, memoryBytes: 3072 * MIB + TARGETS });
  });

  it('warns where it does not know what is free', async () => {
    const { check, memoryBytes } = await checkMemory({ ...subject, freeMemoryBytes: undefined }, new PricedEngine());
    expect(check).toEqual({ name: 'memory', verdict: 'warned', found: '3.00 GiB are needed; how much is free is unknown here' });
    expect(memoryBytes).toBe(3072 * MIB + TARGETS);
  });

  it('fails with each setting that alone would make it fit, and its bytes', async () => {
    const free = 2024 * MIB + TARGETS;
    const parameters = parameterCount(config);
    const fewer = Math.floor(parameters - (1048 * parameters) / 1024);
    expect(fewer).toBeLessThan(0);
    await expect(checkMemory({ ...subject, freeMemoryBytes: free }, new PricedEngine())).rejects.toMatchObject({
      code: 'distillation.preflight_failed',
      check: 'memory',
      message: 'preflight check "memory" failed: 3.00 GiB are needed and 1.98 GiB are free; any of these would fit: micro_batch_tokens at most 1000 (1.98 GiB)',
    });
  });

  it('names layers that are recomputed where training alone is too large, unless they are already', async () => {
    const spec = parsed({ align: { steps: 0 } });
    const long = { ...subject, spec, training: prompts(4000), freeMemoryBytes: 3100 * MIB };
    await expect(checkMemory(long, new PricedEngine())).rejects.toMatchObject({ message: expect.stringMatching(/are free; any of these would fit: recompute: layers \(3\.00 GiB\)$/) });
    const recomputed = parsed({ align: { steps: 0 }, recompute: 'layers' });
    expect(await checkMemory({ ...long, spec: recomputed }, new PricedEngine())).toMatchObject({ check: { verdict: 'passed' } });
    await expect(checkMemory({ ...long, spec: recomputed, training: prompts(40_000) }, new PricedEngine())).rejects.toMatchObject({ message: expect.not.stringContaining('recompute') });
  });

  it('names the size of a student that would fit', async () => {
    const free = 2560 * MIB + TARGETS;
    const fewer = Math.floor(parameterCount(config) / 2);
    await expect(checkMemory({ ...subject, freeMemoryBytes: free }, new PricedEngine())).rejects.toThrow(
      `micro_batch_tokens at most 1536 (2.50 GiB); a student of at most ${fewer} parameters where this one has ${parameterCount(config)} (2.50 GiB)`,
    );
  });

  it('names shorter completions where the longest sequence decides', async () => {
    // 16 prompts in an align step: 16 x (40 + 200) tokens are the 3840 MiB beside the first 1024.
    const long = { ...subject, spec: parsed({ align: { max_tokens: 4000 } }), freeMemoryBytes: (1024 + 3840) * MIB + TARGETS };
    await expect(checkMemory(long, new PricedEngine())).rejects.toThrow('any of these would fit: max_tokens of collect, align and evaluate at most 200 (4.75 GiB)');
  });

  it('says so when no setting alone is enough', async () => {
    await expect(checkMemory({ ...subject, freeMemoryBytes: 1000 * MIB }, new PricedEngine())).rejects.toThrow(/no single smaller setting would fit; choose a much smaller student, or free some memory/);
  });
});
