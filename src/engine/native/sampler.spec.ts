import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { heldBytes } from '../../../test/support/held-bytes.js';
import { writeTinyModel } from '../../../test/support/tiny-model.js';
import { Aborted } from '../../common/errors.js';
import type { Sampling } from '../../tokens/sample.js';
import type { TargetBlock } from '../../tokens/target.js';
import { BatchTooLarge, RequestInvalid, type Completion, type Engine, type SamplePrompt, type SampleRequest } from '../engine.js';
import { ReferenceEngine } from '../reference/reference-engine.js';
import { NativeEngine } from './native-engine.js';

const free: Sampling = { temperature: 1, topP: 1, topK: 0, maxTokens: 12, stopIds: [] };
const key = { seed: 7_000_000_000, stage: 2, step: 5 };
const prompts: SamplePrompt[] = Array.from({ length: 45 }, (_, index) => ({
  ids_T: Int32Array.from({ length: 1 + ((index * 7) % 19) }, (_, t) => (index * 31 + t * 13) % 300),
  sample: 100 + index,
}));

/** How far log-probs of one id may lie apart in the mean: by float32 of the two heads. */
const APART = 1e-6;

let dir: string;
let engine: NativeEngine;
const open: Engine[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'limbeck-sampler-'));
  await writeTinyModel(dir, { layers: 2, hidden: 48, intermediate: 80, heads: 4, kvHeads: 2, headDim: 16, vocab: 300, seed: 4, tokenizer: 'none' });
  engine = await NativeEngine.open({ modelDir: dir, threads: 2 });
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
});

afterAll(async () => {
  await engine.close();
  await rm(dir, { recursive: true, force: true });
});

async function sample(request: Partial<SampleRequest>, by: Engine = engine): Promise<Completion[]> {
  const completions: Completion[] = [];
  for await (const completion of by.sample({ prompts, sampling: free, key, ...request })) completions.push(completion);
  return completions;
}

const inOrder = (completions: Completion[]): Completion[] => [...completions].sort((a, b) => a.index - b.index);

async function score(completions: Completion[], k: number): Promise<TargetBlock[]> {
  const sequences = completions.map(({ index, ids_T }) => ({ ids_T: Int32Array.of(...prompts[index].ids_T, ...ids_T), from: prompts[index].ids_T.length }));
  const blocks: TargetBlock[] = [];
  for await (const block of engine.score({ sequences, k })) blocks.push(block);
  return blocks;
}

/** Flattens the pairs of two lists of arrays and means their distance. */
function meanDistance(pairs: readonly (readonly [Float32Array, Float32Array])[]): number {
  const distances = pairs.flatMap(([a, b]) => Array.from(a, (value, i) => Math.abs(value - b[i])));
  return distances.reduce((sum, distance) => sum + distance, 0) / distances.length;
}

test('the same request gives the same bits in the same order, slots refilled and all', async () => {
  const stops = { ...free, stopIds: [3, 17, 29, 44, 61, 130, 177, 205, 250, 288] };
  const first = await sample({ sampling: stops });
  expect(await sample({ sampling: stops })).toEqual(first);
  expect(inOrder(first).map(({ index }) => index)).toEqual(prompts.map((_, index) => index));
  expect(new Set(first.map(({ ids_T }) => ids_T.length)).size).toBeGreaterThan(3);
});

test('another seed, stage, step or sample draws differently', async () => {
  const ids = async (request: Partial<SampleRequest>): Promise<string> => inOrder(await sample({ prompts: prompts.slice(0, 4), ...request })).map(({ ids_T }) => ids_T.join()).join();
  const draws = await Promise.all([
    ids({}), ids({ key: { ...key, seed: 8 } }), ids({ key: { ...key, stage: 3 } }), ids({ key: { ...key, step: 6 } }),
    ids({ prompts: prompts.slice(0, 4).map((prompt) => ({ ...prompt, sample: prompt.sample + 1 })) }),
  ]);
  expect(new Set(draws).size).toBe(5);
});

test('neighbours and their number do not change what a sequence draws', async () => {
  const together = inOrder(await sample({}));
  for (const { index, ids_T } of together) {
    const [alone] = await sample({ prompts: [prompts[index]] });
    expect(ids_T).toEqual(alone.ids_T);
  }
});

test('prompts that begin alike, and waited or took over what slots held, draw what each draws alone', async () => {
  const part = (length: number, seed: number): number[] => Array.from({ length }, (_, t) => (seed * 41 + t * 13) % 300);
  const alike = Array.from({ length: 60 }, (_, index) => ({ ids_T: Int32Array.from([...part(21, 1), ...part(3 + (index % 5), 2 + (index % 15))]), sample: 7 * index }));
  const stops = { ...free, stopIds: Array.from({ length: 20 }, (_, id) => 15 * id) };
  for (const { index, ids_T, logProbs_T } of await sample({ prompts: alike, sampling: stops })) {
    const [alone] = await sample({ prompts: [alike[index]], sampling: stops });
    expect(ids_T).toEqual(alone.ids_T);
    expect(logProbs_T).toEqual(alone.logProbs_T);
  }
});

test('draws what the float64 oracle draws', async () => {
  const oracle = await ReferenceEngine.open(dir);
  const some = { prompts: prompts.slice(0, 24), sampling: { ...free, temperature: 0.8, topK: 20, topP: 0.9, maxTokens: 6 } };
  const found = inOrder(await sample(some));
  const wanted = inOrder(await sample(some, oracle));
  const same = found.filter(({ ids_T }, i) => ids_T.join() === wanted[i].ids_T.join()).length;
  expect(same).toBeGreaterThanOrEqual(20);
});

test('temperature 0 takes the most probable id at every step, stop ids end it', async () => {
  const greedy = { ...free, temperature: 0 };
  const completions = inOrder(await sample({ sampling: greedy }));
  const blocks = await score(completions, 2);
  let agree = 0;
  let rows = 0;
  for (const { index } of completions) {
    const { ids_S, offsets_R1, logProbs_S, actualLogProbs_R } = blocks[index];
    for (let row = 0; row < actualLogProbs_R.length; row++) {
      const isNearTie = logProbs_S[offsets_R1[row]] - logProbs_S[offsets_R1[row] + 1] < 0.05;
      rows += Number(!isNearTie);
      agree += Number(!isNearTie && ids_S[offsets_R1[row]] === completions[index].ids_T[row]);
    }
  }
  expect(rows).toBeGreaterThan(400);
  expect(agree).toBe(rows);
  const [third] = completions[0].ids_T.slice(2);
  const [stopped] = await sample({ prompts: [prompts[0]], sampling: { ...greedy, stopIds: [third] } });
  expect(stopped.finish).toBe('stop');
  expect(stopped.ids_T[stopped.ids_T.length - 1]).toBe(third);
});

test('log-probs of prefill and decode are those of score, whatever the truncation', async () => {
  const completions = inOrder(await sample({ sampling: { ...free, temperature: 0.7, topK: 30, topP: 0.8 } }));
  const blocks = await score(completions, 4);
  expect(meanDistance(completions.map(({ index, logProbs_T }) => [logProbs_T, blocks[index].actualLogProbs_R]))).toBeLessThan(APART);
});

test('one token a completion, more prompts than slots', async () => {
  const completions = await sample({ sampling: { ...free, maxTokens: 1 } });
  expect(completions).toHaveLength(prompts.length);
  expect(completions.every(({ ids_T, finish }) => ids_T.length === 1 && finish === 'length')).toBe(true);
});

test('no prompts, no completions', async () => {
  expect(await sample({ prompts: [] })).toEqual([]);
});

test('score: k best first, the actual id appended, masses that sum to one', async () => {
  const oracle = await ReferenceEngine.open(dir);
  const sequences = prompts.slice(0, 12).map(({ ids_T }) => ({ ids_T, from: 1 }));
  const found: TargetBlock[] = [];
  for await (const block of engine.score({ sequences, k: 5 })) found.push(block);
  for await (const wanted of oracle.score({ sequences, k: 5 })) {
    const block = found[wanted.index];
    expect(block.actualLogProbs_R.length).toBe(wanted.actualLogProbs_R.length);
    if (block.actualLogProbs_R.length === 0) continue;
    expect(meanDistance([[block.actualLogProbs_R, wanted.actualLogProbs_R]])).toBeLessThan(0.02);
    for (let row = 0; row < block.tail_R.length; row++) {
      const support = block.logProbs_S.subarray(block.offsets_R1[row], block.offsets_R1[row + 1]);
      expect(support.reduce((sum, logProb) => sum + Math.exp(logProb), block.tail_R[row])).toBeCloseTo(1, 4);
      expect(Array.from(support.subarray(0, 5)).sort((a, b) => b - a)).toEqual(Array.from(support.subarray(0, 5)));
      expect(block.ids_S.subarray(block.offsets_R1[row], block.offsets_R1[row + 1])).toContain(sequences[wanted.index].ids_T[row + 1]);
    }
  }
  expect(found.map(({ index }) => index)).toEqual(sequences.map((_, index) => index));
});

describe('requests that break their contract are refused before any work', () => {
  const cases: readonly (readonly [string, Partial<SampleRequest>, RegExp])[] = [
    ['an empty prompt', { prompts: [{ ids_T: new Int32Array(0), sample: 0 }] }, /prompts\[0\] is empty/],
    ['an id outside the vocabulary', { prompts: [{ ids_T: Int32Array.of(5, 300), sample: 0 }] }, /prompts\[0\], id 1, is 300/],
    ['more tokens than positions', { sampling: { ...free, maxTokens: 600 } }, /exceed the 512 positions/],
    ['a topP of 0', { sampling: { ...free, topP: 0 } }, /topP is 0/],
    ['a negative temperature', { sampling: { ...free, temperature: -1 } }, /temperature is -1/],
    ['a fraction as sample', { prompts: [{ ids_T: Int32Array.of(5), sample: 0.5 }] }, /sample is 0.5/],
  ];
  test.each(cases)('%s', async (_name, request, message) => {
    await expect(sample(request)).rejects.toThrow(RequestInvalid);
    await expect(sample(request)).rejects.toThrow(message);
  });

  test('a k beyond the vocabulary', async () => {
    const reading = engine.score({ sequences: [{ ids_T: Int32Array.of(1, 2), from: 1 }], k: 301 })[Symbol.asyncIterator]().next();
    await expect(reading).rejects.toThrow(/k is 301/);
  });

  test('caches that do not fit, with what would', async () => {
    const small = await NativeEngine.open({ modelDir: dir, threads: 2, memoryLimitBytes: heldBytes() + (2 << 20) });
    open.push(small);
    const long = { prompts, sampling: { ...free, maxTokens: 400 } };
    const refused = await sample(long, small).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(BatchTooLarge);
    const [, most] = /at most (\d+) prompts at a time/.exec(String(refused))!.map(Number);
    expect(await sample({ ...long, prompts: prompts.slice(0, most) }, small)).toHaveLength(most);
  });
});

test('an abort stops between steps; a stream left early frees its turn', async () => {
  const controller = new AbortController();
  const reading = engine.sample({ prompts, sampling: { ...free, maxTokens: 400 }, key }, controller.signal)[Symbol.asyncIterator]().next();
  setImmediate(() => controller.abort());
  await expect(reading).rejects.toBeInstanceOf(Aborted);
  for await (const completion of engine.sample({ prompts, sampling: free, key })) {
    expect(completion.ids_T).toHaveLength(12);
    break;
  }
  expect(await sample({ prompts: prompts.slice(0, 2) })).toHaveLength(2);
});
