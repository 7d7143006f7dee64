import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { InferenceSession } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Float64Llama, logSumExp } from '../../../test/support/float64-llama.js';
import { askTeacher, openSession, type TeacherAnswer, type TeacherAsk } from '../../../test/support/onnx-graphs.js';
import { TINY_FAMILIES, writeTinyFamily } from '../../../test/support/tiny-families.js';
import { TINY_MODEL, tinyConfig, writeTinyModel, type TinyModelOptions } from '../../../test/support/tiny-model.js';
import { writeTeacherModel } from './teacher-model.js';

const ODD: Partial<TinyModelOptions> = {
  layers: 3, hidden: 20, intermediate: 27, heads: 6, kvHeads: 3, headDim: 10, vocab: 67, tied: false, seed: 5, tokenizer: 'none',
};
const GOLDEN_RATIO = 0.6180339887;
const K = 5;

/** The same ids for the same arguments, spread over the vocabulary. */
function someIds(length: number, seed: number, vocab: number): number[] {
  return Array.from({ length }, (_, i) => (i * i * 31 + i * 17 + seed * 101) % vocab);
}

function tinyLlama(options: Partial<TinyModelOptions>) {
  return { config: tinyConfig({ ...TINY_MODEL, ...options }), write: (dir: string) => writeTinyModel(dir, options) };
}

describe.each([
  { name: 'Llama, tied, grouped heads, more head columns than hidden columns', ...tinyLlama({}) },
  { name: 'Llama, untied, odd sizes', ...tinyLlama(ODD) },
  { name: 'Llama, a vocabulary of whole blocks', ...tinyLlama({ vocab: 512, layers: 1 }) },
  ...Object.entries(TINY_FAMILIES).map(([name, config]) => ({ name, config, write: (dir: string) => writeTinyFamily(dir, config) })),
])('teacher.onnx: $name', ({ config, write }) => {
  const { vocabSize: vocab } = config;
  // Lengths 3 to 140: below, at and beyond every vector width.
  const sequences = Array.from({ length: 16 }, (_, i) => someIds(3 + i * 9 + (i % 4), i, vocab));
  let dir: string;
  let llama: Float64Llama;
  let session: InferenceSession;
  let alone: TeacherAnswer[];

  const askAll = (ids: readonly number[], index: number): TeacherAsk => ({
    ids,
    rows: ids.map((_, at) => ({ at, label: (at * 7) % vocab, uniform: ((at + 1) * GOLDEN_RATIO + index * 0.1) % 1, temperature: 0.7 + (at % 3) * 0.4 })),
  });
  const ask = (batch: readonly TeacherAsk[], k = K): Promise<TeacherAnswer[]> => askTeacher(session, config, batch, k);

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'limbeck-teacher-onnx-'));
    await write(dir);
    llama = await Float64Llama.open(dir);
    session = await openSession(await writeTeacherModel(dir));
    alone = [];
    for (const [index, ids] of sequences.entries()) alone.push(...(await ask([askAll(ids, index)])));
  });

  afterAll(async () => {
    await session.release();
    await rm(dir, { recursive: true });
  });

  it('gives the logits and the log-sum-exp of a float64 forward', () => {
    const reference = llama.logits(sequences[3]);
    alone[3].rows.forEach((row, t) => {
      const best = reference[t].map((logit, id) => ({ logit, id })).sort((a, b) => b.logit - a.logit).slice(0, K);
      expect(row.topIds).toEqual(best.map(({ id }) => id));
      row.topLogits.forEach((logit, i) => expect(logit).toBeCloseTo(best[i].logit, 4));
      expect(row.labelLogit).toBeCloseTo(reference[t][(t * 7) % vocab], 4);
      expect(row.labelRank).toBe(reference[t].filter((logit) => logit >= reference[t][(t * 7) % vocab]).length);
      expect(row.logSumExp).toBeCloseTo(logSumExp(reference[t]), 4);
    });
  });

  it('draws the id that a float64 inverse CDF draws', async () => {
    const ids = sequences[1];
    const reference = llama.logits(ids);
    const uniforms = Array.from({ length: 40 }, (_, i) => Math.fround((i * GOLDEN_RATIO) % 1));
    for (const temperature of [0.3, 1, 2]) {
      const rows = uniforms.map((uniform, i) => ({ at: i % ids.length, uniform, temperature }));
      const [answer] = await ask([{ ids, rows }]);
      answer.rows.forEach((row, i) => {
        const logits = reference[rows[i].at];
        expect(row.sampledId).toBe(inverseCdf(logits.map((logit) => logit / Math.fround(temperature)), uniforms[i]));
        expect(row.sampledLogit).toBeCloseTo(logits[row.sampledId], 4);
      });
    }
  });

  it('never draws outside the vocabulary, and always the best id as the temperature vanishes', async () => {
    const largest = 1 - 2 ** -24;
    const ids = sequences[2];
    const at = ids.length - 1;
    const [answer] = await ask([{ ids, rows: [{ at, uniform: largest }, { at, uniform: 0 }, { at, uniform: largest, temperature: 1e-6 }, { at, uniform: 0, temperature: 1e-6 }] }]);
    const [highest, lowest, coldHighest, coldLowest] = answer.rows;
    expect(highest.sampledId).toBe(vocab - 1);
    expect(lowest.sampledId).toBe(0);
    expect([coldHighest.sampledId, coldLowest.sampledId]).toEqual([highest.topIds[0], highest.topIds[0]]);
  });

  it('answers alone as among 15 others, bit for bit, when reading', async () => {
    expect(await ask(sequences.map(askAll))).toEqual(alone);
  });

  it.each([1, 2, 17])('answers alone as among 15 others, bit for bit, when going on by %i ids', async (added) => {
    const goOn = sequences.map((_, i): TeacherAsk => {
      const rows = [0, added - 1].map((at) => ({ at, label: 3, uniform: (i * GOLDEN_RATIO) % 1 }));
      return { ids: someIds(added, i + 50, vocab), cache: alone[i].cache, rows };
    });
    const each: TeacherAnswer[] = [];
    for (const one of goOn) each.push(...(await ask([one])));
    expect(await ask(goOn)).toEqual(each);
  });

  it('reads in two parts what it reads in one', async () => {
    const ids = sequences[9];
    const [first] = await ask([{ ids: ids.slice(0, 32), rows: [{ at: 0 }] }]);
    const [second] = await ask([{ ids: ids.slice(32), cache: first.cache, rows: ids.slice(32).map((_, at) => ({ at, label: ((at + 32) * 7) % vocab })) }]);
    second.rows.forEach((row, i) => {
      expect(row.topIds).toEqual(alone[9].rows[32 + i].topIds);
      expect(row.labelLogit).toBeCloseTo(alone[9].rows[32 + i].labelLogit, 4);
      expect(row.logSumExp).toBeCloseTo(alone[9].rows[32 + i].logSumExp, 4);
    });
  });

  it('ranks the whole vocabulary when asked to', async () => {
    const [answer] = await ask([{ ids: [1, 2], rows: [{ at: 1 }] }], vocab);
    const [row] = answer.rows;
    expect([...row.topIds].sort((a, b) => a - b)).toEqual(Array.from({ length: vocab }, (_, id) => id));
    expect(logSumExp(row.topLogits)).toBeCloseTo(row.logSumExp, 5);
  });
});

function inverseCdf(logits: readonly number[], uniform: number): number {
  const norm = logSumExp(logits);
  let mass = 0;
  return logits.findIndex((logit) => (mass += Math.exp(logit - norm)) > uniform);
}
