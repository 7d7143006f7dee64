import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { InferenceSession } from 'onnxruntime-node';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compiled } from '../../../test/support/compiled.js';
import { Float64Llama, logSumExp } from '../../../test/support/float64-llama.js';
import { floats, int64, openSession, pastFeeds } from '../../../test/support/onnx-graphs.js';
import { TINY_FAMILIES, writeTinyFamily } from '../../../test/support/tiny-families.js';
import { TINY_MODEL, tinyConfig, writeTinyModel, type TinyModelOptions } from '../../../test/support/tiny-model.js';
import { writeInterchangeModel } from './interchange-model.js';
import { InterchangeSession, InterchangeUnusable } from './interchange-session.js';
import { runInterchange } from './run-interchange.js';

const ODD: Partial<TinyModelOptions> = {
  layers: 3, hidden: 20, intermediate: 27, heads: 6, kvHeads: 3, headDim: 10, vocab: 67, tied: false, seed: 5, tokenizer: 'none',
};
const LONG = Array.from({ length: 21 }, (_, i) => (i * i * 7 + 3) % 67);
const SHORT = LONG.slice(4, 13);

function tinyLlama(options: Partial<TinyModelOptions>) {
  return { config: tinyConfig({ ...TINY_MODEL, ...options }), write: (dir: string) => writeTinyModel(dir, options) };
}

describe.each([
  { name: 'Llama, tied, grouped heads, more head columns than hidden columns', ...tinyLlama({}) },
  { name: 'Llama, untied, odd sizes', ...tinyLlama(ODD) },
  ...Object.entries(TINY_FAMILIES).map(([name, config]) => ({ name, config, write: (dir: string) => writeTinyFamily(dir, config) })),
])('onnx/model.onnx: $name', ({ config, write }) => {
  const { vocabSize: vocab } = config;
  let dir: string;
  let path: string;
  let llama: Float64Llama;
  let session: InferenceSession;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'limbeck-interchange-'));
    await write(dir);
    llama = await Float64Llama.open(dir);
    path = await writeInterchangeModel(dir);
    session = await openSession(path);
  });

  afterAll(async () => {
    await session.release();
    await rm(dir, { recursive: true });
  });

  /** Logits of each given position, [length][V], of sequences padded with `pad` ids at one side. */
  const logitsOf = async (batch: readonly (readonly number[])[], side: 'left' | 'right'): Promise<number[][][]> => {
    const S = Math.max(...batch.map(({ length }) => length));
    const at = (ids: readonly number[]): number => (side === 'left' ? S - ids.length : 0);
    const lay = (value: (ids: readonly number[], i: number) => number): number[] =>
      batch.flatMap((ids) => Array.from({ length: S }, (_, s) => (s < at(ids) || s >= at(ids) + ids.length ? 0 : value(ids, s - at(ids)))));
    const shape = [batch.length, S];
    const { logits } = await session.run({
      input_ids: int64(lay((ids, i) => ids[i]), shape),
      attention_mask: int64(lay(() => 1), shape),
      position_ids: int64(lay((_, i) => i), shape),
      ...pastFeeds(config, batch.map(() => undefined), { prefix: 'past_key_values', P: 0 }),
    });
    expect(logits.dims).toEqual([batch.length, S, vocab]);
    return batch.map((ids, b) => ids.map((_, i) => Array.from(floats(logits).subarray((b * S + at(ids) + i) * vocab, (b * S + at(ids) + i + 1) * vocab))));
  };

  it('has the inputs and outputs of Hugging Face exports', () => {
    const layers = Array.from({ length: config.layers }, (_, i) => i);
    expect(session.inputNames).toEqual(['input_ids', 'attention_mask', 'position_ids', ...layers.flatMap((i) => [`past_key_values.${i}.key`, `past_key_values.${i}.value`])]);
    expect(session.outputNames).toEqual(['logits', ...layers.flatMap((i) => [`present.${i}.key`, `present.${i}.value`])]);
  });

  it('names its sizes so that transformers.js can make an empty cache', () => {
    for (const input of session.inputMetadata.filter(({ name }) => name.startsWith('past_key_values'))) {
      expect(input).toMatchObject({ isTensor: true, type: 'float32', shape: ['batch_size', config.kvHeads, 'past_sequence_length', config.headDim] });
    }
  });

  it('gives the logits of a float64 forward', async () => {
    const [logits] = await logitsOf([LONG], 'right');
    expectClose(logits, llama.logits(LONG));
  });

  it('gives the same padded as unpadded: to the bit on the right, to rounding on the left', async () => {
    const [alone] = await logitsOf([SHORT], 'right');
    const [, right] = await logitsOf([LONG, SHORT], 'right');
    expect(right).toEqual(alone);
    const [, left] = await logitsOf([LONG, SHORT], 'left');
    expectClose(left, alone);
  });

  it('goes on from its own cache as it reads in one pass', async () => {
    const onnx = await InterchangeSession.open(path, 2);
    const greedy = await onnx.run({ kind: 'greedy', ids_T: Int32Array.from(SHORT), tokens: 12 });
    const whole = await onnx.run({ kind: 'score', ids_T: greedy.ids_T, from: SHORT.length });
    await onnx.close();
    expect(greedy.ids_T).toHaveLength(SHORT.length + 12);
    const reference = llama.logits(Array.from(greedy.ids_T));
    greedy.positions.forEach((position, i) => {
      const logits = reference[SHORT.length + i - 1];
      const [best, second] = [...logits].sort((a, b) => b - a);
      expect(position.greedyId).toBe(logits.indexOf(best));
      expect(greedy.ids_T[SHORT.length + i]).toBe(position.greedyId);
      expect(position.actualLogProb).toBeCloseTo(best - logSumExp(logits), 4);
      expect(position.greedyGap).toBeCloseTo(best - second, 4);
      expect(whole.positions[i].greedyId).toBe(position.greedyId);
      expect(whole.positions[i].actualLogProb).toBeCloseTo(position.actualLogProb, 4);
    });
  });
});

describe('an interchange model that one file does not hold', () => {
  const limits = { singleFile: 1, dataFile: 8192, apart: 512 };
  let dir: string;

  beforeEach(async () => {
    dir = await writeTinyModel(await mkdtemp(join(tmpdir(), 'limbeck-interchange-')), ODD);
  });

  afterEach(async () => {
    await rm(dir, { recursive: true });
  });

  const scores = async (path: string) => {
    const session = await InterchangeSession.open(path, 1);
    const { positions } = await session.run({ kind: 'score', ids_T: Int32Array.from(LONG), from: 1 });
    await session.close();
    return positions;
  };
  const config = async (): Promise<Record<string, unknown>> => JSON.parse(await readFile(join(dir, 'config.json'), 'utf8')) as Record<string, unknown>;

  it('gives the same scores, and counts its files for transformers.js without changing the rest of the configuration', async () => {
    const before = await config();
    const whole = await scores(await writeInterchangeModel(dir));
    expect(await config()).toEqual(before);
    const path = await writeInterchangeModel(dir, limits);
    const files = await readdir(join(dir, 'onnx'));
    expect(files.length).toBeGreaterThan(2);
    expect(await config()).toEqual({ ...before, 'transformers.js_config': { use_external_data_format: { 'model.onnx': files.length - 1 } } });
    expect(await scores(path)).toEqual(whole);
  });

  it('keeps what the configuration says of other models, and takes its own words back when one file holds it', async () => {
    const before = { ...(await config()), 'transformers.js_config': { dtype: 'fp32', use_external_data_format: { 'model_q4.onnx': 1 } } };
    await writeFile(join(dir, 'config.json'), JSON.stringify(before));
    await writeInterchangeModel(dir, limits);
    const { length } = await readdir(join(dir, 'onnx'));
    expect(await config()).toEqual({ ...before, 'transformers.js_config': { dtype: 'fp32', use_external_data_format: { 'model_q4.onnx': 1, 'model.onnx': length - 1 } } });
    await writeInterchangeModel(dir);
    expect(await config()).toEqual(before);
  });
});

describe('the interchange model in a thread of its own', () => {
  it('gives what it gives on this one, and says which file it cannot use', async () => {
    const dir = await writeTinyModel(await mkdtemp(join(tmpdir(), 'limbeck-interchange-')));
    const modelPath = await writeInterchangeModel(dir);
    const tasks = [
      { kind: 'score', ids_T: Int32Array.from(LONG), from: 3 },
      { kind: 'greedy', ids_T: Int32Array.from(SHORT), tokens: 4 },
    ] as const;
    const session = await InterchangeSession.open(modelPath, 1);
    const here = [await session.run(tasks[0]), await session.run(tasks[1])];
    await session.close();
    const entry = await compiled('src/model-files/onnx/interchange-worker.ts');
    expect(await runInterchange({ modelPath, threads: 1, tasks }, entry)).toEqual(here);
    const absent = join(dir, 'absent.onnx');
    const error = await runInterchange({ modelPath: absent, threads: 1, tasks }, entry).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InterchangeUnusable);
    expect(String(error)).toContain(`${absent} cannot be used`);
    await rm(dir, { recursive: true });
  });
});

function expectClose(actual: readonly (readonly number[])[], expected: readonly (readonly number[])[]): void {
  expect(actual).toHaveLength(expected.length);
  const differences = actual.flatMap((row, t) => row.map((value, v) => Math.abs(value - expected[t][v])));
  expect(Math.max(...differences)).toBeLessThan(2e-5);
}
