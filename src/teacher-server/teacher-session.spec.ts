import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TINY_MODEL, writeTinyModel } from '../../test/support/tiny-model.js';
import { writeInterchangeModel } from '../model-files/onnx/interchange-model.js';
import { writeTeacherModel } from '../model-files/onnx/teacher-model.js';
import { CHUNK, layoutOf } from './layout.js';
import type { After, RowAsk, RunPart, TeacherRows } from './runtime.js';
import { TeacherSession } from './teacher-session.js';

const K = 5;
const V = TINY_MODEL.vocab;

let dir: string;
let session: TeacherSession;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'limbeck-teacher-session-'));
  await writeTinyModel(dir);
  const modelPath = await writeTeacherModel(dir);
  session = await TeacherSession.open({ modelPath, threads: 2, cache: TINY_MODEL, maxPositions: 512 });
});

afterAll(async () => {
  await session.close();
  await rm(dir, { recursive: true });
});

function someIds(length: number, seed: number): Int32Array {
  return Int32Array.from({ length }, (_, i) => (i * i * 31 + i * 17 + seed * 101) % V);
}

function rowsAt(count: number, from = 0): RowAsk[] {
  return Array.from({ length: count }, (_, i) => ({ at: from + i, label: (i * 7) % V, temperature: 0.7, uniform: (i * 0.618) % 1 }));
}

/** One sequence read in its chunks, then continued id by id; the rows of every run of it. */
async function follow(lane: number, ids_T: Int32Array, steps: number): Promise<TeacherRows[]> {
  const seen: TeacherRows[] = [];
  for (let held = 0; held < ids_T.length; held += CHUNK) {
    const isLast = held + CHUNK >= ids_T.length;
    seen.push(await session.run({ parts: [partOf({ lane, held, ids_S: ids_T.slice(held, held + CHUNK), after: isLast ? 'decode' : 'read' })], k: K }));
  }
  for (let step = 0; step < steps; step++) {
    seen.push(await session.run({ parts: [partOf({ lane, held: ids_T.length + step, ids_S: Int32Array.of(step % V), after: 'decode' })], k: K }));
  }
  session.forget(lane);
  return seen;
}

function partOf(part: { lane: number; held: number; ids_S: Int32Array; after: After }): RunPart {
  return { ...part, rows: rowsAt(part.ids_S.length) };
}

/** Row `r` of the answers, to compare bits. */
function bits(rows: TeacherRows, r: number, count = 1): number[][] {
  const K_ = rows.topIds_RK.length / rows.logSumExp_R.length;
  return [
    Array.from(rows.topIds_RK.subarray(r * K_, (r + count) * K_)),
    Array.from(rows.topLogits_RK.subarray(r * K_, (r + count) * K_)),
    ...[rows.labelLogits_R, rows.labelRanks_R, rows.logSumExp_R, rows.sampledIds_R, rows.sampledLogits_R].map((array) => Array.from(array.subarray(r, r + count))),
  ];
}

describe('layoutOf', () => {
  it.each([
    { held: 0, count: 1, layout: { past: 0, fresh: 1 } },
    { held: 0, count: 17, layout: { past: 0, fresh: 32 } },
    { held: 128, count: 128, layout: { past: 128, fresh: 128 } },
    { held: 129, count: 1, layout: { past: 256, fresh: 1 } },
  ])('is $layout for $count new after $held held', ({ held, count, layout }) => {
    expect(layoutOf(held, count)).toEqual(layout);
  });
});

describe('TeacherSession', () => {
  it('answers a sequence among 15 others, joining and leaving, as it does alone, bit for bit', async () => {
    const sequences = Array.from({ length: 16 }, (_, i) => someIds(33 + i, i));
    const steps = 6;
    const alone = [];
    for (const [index, ids] of sequences.entries()) alone.push(await follow(100 + index, ids, steps));
    const together = sequences.map((ids_S, lane) => ({ lane, ids_S, held: 0, seen: [] as number[][][] }));

    for (let round = 0; round <= steps; round++) {
      const left = together.filter(({ lane }) => round < 3 || lane % 3 !== 0);
      for (const group of byLayout(left.map((one) => partOf({ ...one, ids_S: round === 0 ? one.ids_S : Int32Array.of((round - 1) % V), after: 'decode' })))) {
        const rows = await session.run({ parts: group, k: K });
        let r = 0;
        for (const part of group) {
          together[part.lane].seen.push(bits(rows, r, part.rows.length));
          together[part.lane].held += part.ids_S.length;
          r += part.rows.length;
        }
      }
      if (round === 2) for (const { lane } of together.filter(({ lane }) => lane % 3 === 0)) session.forget(lane);
    }

    for (const { lane, seen } of together) {
      expect(seen).toEqual(alone[lane].slice(0, seen.length).map((rows) => bits(rows, 0, rows.logSumExp_R.length)));
      session.forget(lane);
    }
  });

  it('goes on across a change of width with the same distribution as one pass over all ids', async () => {
    const ids = someIds(CHUNK + 20, 3);
    const stepped = await follow(1, ids.slice(0, CHUNK - 4), 0);
    expect(stepped).toHaveLength(1);
    await session.run({ parts: [partOf({ lane: 2, held: 0, ids_S: ids.slice(0, CHUNK - 4), after: 'decode' })], k: K });
    let last: TeacherRows | undefined;
    for (let held = CHUNK - 4; held < ids.length; held++) last = await session.run({ parts: [partOf({ lane: 2, held, ids_S: ids.slice(held, held + 1), after: 'decode' })], k: K });
    session.forget(2);

    const chunked = await follow(3, ids, 0);
    const end = chunked[1].logSumExp_R.length - 1;
    expect(last?.topIds_RK[0]).toBe(chunked[1].topIds_RK[end * K]);
    expect(last?.logSumExp_R[0]).toBeCloseTo(chunked[1].logSumExp_R[end], 4);
    expect(last?.topLogits_RK[K - 1]).toBeCloseTo(chunked[1].topLogits_RK[end * K + K - 1], 4);
  });

  it('keeps lanes of one width apart when only some of them run', async () => {
    const ids = [someIds(20, 1), someIds(21, 2), someIds(22, 3)];
    const expected = await follow(10, ids[1], 2);
    for (const [lane, ids_S] of ids.entries()) await session.run({ parts: [partOf({ lane, held: 0, ids_S, after: 'decode' })], k: K });
    const first = await session.run({ parts: [partOf({ lane: 1, held: 21, ids_S: Int32Array.of(0), after: 'decode' })], k: K });
    session.forget(0);
    const second = await session.run({ parts: [partOf({ lane: 1, held: 22, ids_S: Int32Array.of(1), after: 'decode' })], k: K });
    for (const lane of [1, 2]) session.forget(lane);
    expect([bits(first, 0), bits(second, 0)]).toEqual(expected.slice(1).map((rows) => bits(rows, 0)));
  });

  it('runs a chunk of which no row is wanted', async () => {
    const ids = someIds(CHUNK + 8, 4);
    const expected = await follow(20, ids, 0);
    await session.run({ parts: [{ lane: 21, held: 0, ids_S: ids.slice(0, CHUNK), after: 'read', rows: [] }], k: 1 });
    const rows = await session.run({ parts: [partOf({ lane: 21, held: CHUNK, ids_S: ids.slice(CHUNK), after: 'forget' })], k: K });
    expect(bits(rows, 0, 8)).toEqual(bits(expected[1], 0, 8));
  });

  it.each([
    { name: 'a graph with other outputs', path: () => writeInterchangeModel(dir), words: 'has no output top_ids; remove the file' },
    { name: 'no graph', path: () => Promise.resolve(join(dir, 'absent.onnx')), words: 'absent.onnx cannot be loaded' },
  ])('does not open $name', async ({ path, words }) => {
    await expect(TeacherSession.open({ modelPath: await path(), threads: 1, cache: TINY_MODEL, maxPositions: 512 })).rejects.toMatchObject({
      code: 'teacher_server.runtime_failed',
      message: expect.stringContaining(words),
    });
  });

  it('refuses to go on with a lane that does not hold what it should', async () => {
    await expect(session.run({ parts: [partOf({ lane: 30, held: 5, ids_S: Int32Array.of(1), after: 'forget' })], k: 1 })).rejects.toMatchObject({
      code: 'teacher_server.runtime_failed',
    });
  });
});

function byLayout(parts: readonly RunPart[]): RunPart[][] {
  const groups = new Map<string, RunPart[]>();
  for (const part of parts) {
    const key = JSON.stringify(layoutOf(part.held, part.ids_S.length));
    groups.set(key, [...(groups.get(key) ?? []), part]);
  }
  return [...groups.values()];
}
