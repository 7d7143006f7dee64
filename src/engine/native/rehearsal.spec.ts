import { afterEach, describe, expect, test } from 'vitest';
import { PAGE_POSITIONS, loadKernels } from '../../../kernels/binding/kernels.js';
import { listed, packSequences } from '../../../test/support/scored-batch.js';
import type { ModelConfig } from '../../model-files/config.js';
import { parameterCount } from '../../model-files/parameters.js';
import type { PackedBatch } from '../../tokens/batch.js';
import type { SampleRequest, ScoreRequest, Work } from '../engine.js';
import { Arena, bytesOf, largerOf } from './arena.js';
import { footprintOf } from './forecast.js';
import { runLoss } from './loss-pass.js';
import { ParameterSet } from './parameters.js';
import type { EngineCore } from './plan.js';
import { Rehearsal, type Footprint } from './rehearsal.js';
import { sampleAll } from './sampler.js';
import { scoreAll } from './scorer.js';
import { withoutPause } from './turns.js';

const kernels = loadKernels();
kernels.setThreads(2);

const TIED: ModelConfig = {
  architecture: 'llama', vocabSize: 300, hiddenSize: 48, intermediateSize: 80, layers: 3, heads: 6, kvHeads: 2, headDim: 12, rmsNormEps: 1e-5, ropeTheta: 10000, ropeScaling: null,
  maxPositions: 2048, tiedEmbeddings: true, bosId: 1, eosIds: [2], padId: 2,
};
const MODELS: readonly (readonly [string, ModelConfig])[] = [
  ['tied', TIED],
  ['untied', { ...TIED, tiedEmbeddings: false, vocabSize: 517 }],
  ['with biases', { ...TIED, architecture: 'qwen2' }],
  ['with norms of heads', { ...TIED, architecture: 'qwen3', headDim: 16 }],
];

const open: Engine[] = [];
afterEach(() => open.splice(0).forEach((engine) => engine.free()));

/** The parts of an engine, and what they were seen to take. */
class Engine {
  readonly core: EngineCore;
  private readonly seen: Footprint[] = [];
  private readonly held: number;

  constructor(config: ModelConfig, roomBytes = Infinity) {
    const rehearsal = new Rehearsal(kernels, config);
    const parameters = new ParameterSet(kernels, config);
    parameters.startTraining();
    this.held = kernels.allocatedBytes();
    this.core = { kernels, config, parameters, rehearsal, arena: new Arena(kernels), lasting: new Arena(kernels), footprintOf: (work) => footprintOf(rehearsal, work), memoryLimitBytes: this.held + kernels.workspaceBytes() + roomBytes };
    const walk = rehearsal.of.bind(rehearsal);
    rehearsal.of = async (pass) => {
      const footprint = await walk(pass);
      this.seen.push(footprint);
      return footprint;
    };
    open.push(this);
  }

  /** What the last walk before a pass said, beside what the pass then took. */
  get said(): Footprint {
    return this.seen[this.seen.length - 1];
  }

  get heldByArenas(): number {
    return kernels.allocatedBytes() - this.held;
  }

  free(): void {
    this.core.arena.free();
    this.core.lasting.free();
    this.core.parameters.free();
    this.core.rehearsal.free();
  }
}

function batchOf(lengths: readonly number[], k: number): PackedBatch {
  const batch = packSequences(lengths.map((length, s) => ({ ids_T: new Int32Array(length).fill(3 + s), from: 5 + (s % 3) })));
  const rows = batch.rows_R.length;
  return {
    ...batch,
    targets: {
      offsets_R1: Int32Array.from({ length: rows + 1 }, (_, r) => r * k),
      ids_E: Int32Array.from({ length: rows * k }, (_, e) => e % k),
      logProbs_E: new Float32Array(rows * k).fill(Math.log(0.5 / k)),
      tail_R: new Float32Array(rows).fill(0.5),
    },
  };
}

async function drain(items: AsyncIterable<unknown>): Promise<number> {
  return (await listed(items)).length;
}

describe.each(MODELS)('the walk of a %s model is what the pass then takes', (_name, config) => {
  test.each([
    ['training', 1, [31, 17, 40], 5],
    ['training, one sequence', 1, [129], 1],
    ['an evaluation', undefined, [31, 17, 40], 5],
  ])('%s', async (_what, normalizer, lengths, k) => {
    const engine = new Engine(config);
    await runLoss(engine.core, { batch: batchOf(lengths, k), loss: { kind: 'forward_kl', truncation: 'tail_bucket' }, normalizer, breathe: withoutPause });
    expect(engine.core.arena.peak).toEqual(engine.said.arena);
    expect(engine.heldByArenas).toBe(bytesOf(engine.said.arena));
    expect(bytesOf(engine.said.lasting)).toBe(0);
  });

  test('scoring', async () => {
    const engine = new Engine(config);
    const request: ScoreRequest = { sequences: [9, 30, 14].map((length) => ({ ids_T: new Int32Array(length).fill(7), from: 3 })), k: 6 };
    expect(await drain(scoreAll(engine.core, request, withoutPause))).toBe(3);
    expect(engine.core.arena.peak).toEqual(engine.said.arena);
    expect(engine.heldByArenas).toBe(bytesOf(engine.said.arena));
  });

  test.each([[20], [40]])('sampling %i prompts: caches too, and nothing stays but the arenas', async (count) => {
    const engine = new Engine(config);
    const slots = Math.min(count, 32);
    const prompts = Array.from({ length: count }, (_, sample) => ({ ids_T: new Int32Array(4 + (sample % 9)).fill(5 + sample), sample }));
    const request: SampleRequest = { prompts, sampling: { temperature: 1, topP: 0.9, topK: 20, maxTokens: 5, stopIds: [] }, key: { seed: 1, stage: 0, step: 0 } };
    const stream = sampleAll(engine.core, request, withoutPause);
    await stream.next();
    expect(engine.heldByArenas).toBe(bytesOf(engine.said.arena) + bytesOf(engine.said.lasting));
    expect(bytesOf(engine.said.lasting)).toBe(config.layers * 2 * slots * (12 + 5 - 1) * config.kvHeads * config.headDim * 2);
    expect(await drain(stream)).toBe(count - 1);
    // Which of 40 prompts enter together depends on what is drawn: the walk counts the largest of all such runs.
    if (count === slots) expect(engine.core.arena.peak).toEqual(engine.said.arena);
    else expect(largerOf(engine.core.arena.peak, engine.said.arena)).toEqual(engine.said.arena);
    expect(engine.heldByArenas).toBe(bytesOf(engine.said.arena) + bytesOf(engine.said.lasting));
  });
});

describe('what a request has kept', () => {
  const prompts = Array.from({ length: 20 }, (_, sample) => ({ ids_T: new Int32Array(6).fill(5), sample }));
  const request: SampleRequest = { prompts, sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: 60, stopIds: [] }, key: { seed: 1, stage: 0, step: 0 } };
  const train = (engine: Engine): Promise<unknown> => runLoss(engine.core, { batch: batchOf([31, 17, 40], 5), loss: { kind: 'hard' }, normalizer: 1, breathe: withoutPause });

  async function largestOfBoth(): Promise<{ arena: number; lasting: number }> {
    const engine = new Engine(TIED);
    await drain(sampleAll(engine.core, request, withoutPause));
    const sampled = engine.said;
    await train(engine);
    return { arena: bytesOf(largerOf(sampled.arena, engine.said.arena)), lasting: bytesOf(sampled.lasting) };
  }

  test('serves the next one and stays through training', async () => {
    const { arena, lasting } = await largestOfBoth();
    const engine = new Engine(TIED);
    for (let turn = 0; turn < 2; turn++) {
      await drain(sampleAll(engine.core, request, withoutPause));
      await train(engine);
      expect(engine.heldByArenas).toBe(arena + lasting);
    }
  });

  test('is given up for work that would not fit beside it', async () => {
    const { arena, lasting } = await largestOfBoth();
    const engine = new Engine(TIED, arena + lasting - 64);
    await drain(sampleAll(engine.core, request, withoutPause));
    await train(engine);
    expect(engine.heldByArenas).toBe(arena);
  });
});

test('the scratch that operations share grows to exactly what was walked', async () => {
  const engine = new Engine({ ...TIED, vocabSize: 40_000, layers: 1 });
  const before = kernels.workspaceBytes();
  await runLoss(engine.core, { batch: batchOf([90, 200], 3), loss: { kind: 'hard' }, normalizer: 1, breathe: withoutPause });
  expect(engine.said.workspaceBytes).toBeGreaterThan(before);
  expect(kernels.workspaceBytes()).toBe(engine.said.workspaceBytes);
});

test('a walk takes no memory of its own', async () => {
  const rehearsal = new Rehearsal(kernels, { ...TIED, layers: 20, hiddenSize: 768, intermediateSize: 4096 });
  const allocated = kernels.allocatedBytes();
  const resident = process.memoryUsage.rss();
  const { arena } = await rehearsal.of(async (rehearsed) => {
    rehearsed.kernels.zero(rehearsed.kernels.alloc('f32', [1 << 28]));
    rehearsed.arena.take('bf16', [1 << 28]);
    return Promise.resolve();
  });
  expect(arena).toEqual({ f32: 0, bf16: 1 << 28, i32: 0 });
  expect(kernels.allocatedBytes()).toBe(allocated);
  expect(process.memoryUsage.rss() - resident).toBeLessThan(64 << 20);
  rehearsal.free();
});

test('a model keeps 18 bytes a parameter in training, and 6 without', () => {
  const count = parameterCount({ ...TIED, vocabSize: 49152, hiddenSize: 576 });
  const { core } = new Engine(TIED);
  const large = new Rehearsal(kernels, { ...TIED, vocabSize: 49152, hiddenSize: 576 });
  expect(large.resident.training / count).toBeGreaterThanOrEqual(18);
  expect(large.resident.training / count).toBeLessThan(18.01);
  expect(large.resident.training / count).toBeLessThanOrEqual(20);
  expect(large.resident.opened / count).toBeLessThan(6.01);
  expect(core.rehearsal.resident.training).toBe(kernels.allocatedBytes());
  large.free();
});

test.each<Work>([
  { kind: 'train', sequences: 3, tokens: 88, rows: 73, k: 5 },
  { kind: 'train', sequences: 3, tokens: 88, rows: 73, k: 5, recompute: 'layers' },
  { kind: 'evaluate', sequences: 3, tokens: 88, rows: 73, k: 5 },
  { kind: 'score', sequences: 4, tokens: 100, rows: 50, k: 6 },
  { kind: 'sample', prompts: 7, promptTokens: 20, maxTokens: 9 },
  { kind: 'sample', prompts: 30, distinct: 2, promptTokens: 90, maxTokens: 9 },
])('more of each size of $kind takes more', async (work) => {
  const { core } = new Engine(TIED);
  const bytes = async (of: Work): Promise<number> => {
    const { arena, lasting, workspaceBytes } = await core.footprintOf(of);
    return bytesOf(arena) + bytesOf(lasting) + workspaceBytes;
  };
  const base = await bytes(work);
  for (const [size, value] of Object.entries(work)) {
    if (typeof value === 'number' && size !== 'sequences') expect(await bytes({ ...work, [size]: value + (work.kind === 'sample' ? PAGE_POSITIONS : 3) }), size).toBeGreaterThan(base);
  }
});
