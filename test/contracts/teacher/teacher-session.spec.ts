import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeTeacherModel } from '../../../src/model-files/onnx/teacher-model.js';
import { layoutOf } from '../../../src/teacher-server/layout.js';
import { NativeSession } from '../../../src/teacher-server/native/native-session.js';
import { OnnxSession } from '../../../src/teacher-server/onnx/onnx-session.js';
import type { After, Padding, RowAsk, RunPart, TeacherRows, TeacherSession } from '../../../src/teacher-server/runtime.js';
import { TINY_MODEL, writeTinyModel } from '../../support/tiny-model.js';

const K = 5;
const V = TINY_MODEL.vocab;
/** Of reading, in this file: as many as every runtime takes. */
const CHUNK = 128;
const MAX_LENGTH = 512;
const THREADS = 2;

/** `apart`: how far logits may lie from those of the same ids read otherwise, in one go or in chunks: float32, or bf16 roundings that fall differently. */
const RUNTIMES = [
  { runtime: 'onnx', open: openOnnx, apart: 1e-4 },
  { runtime: 'native', open: openNative, apart: 0.05 },
] as const;

async function openOnnx(dir: string): Promise<TeacherSession> {
  return OnnxSession.open({ runtime: 'onnx', modelPath: await writeTeacherModel(dir), threads: THREADS, cache: TINY_MODEL, vocabSize: V, maxPositions: MAX_LENGTH });
}

function openNative(modelDir: string): Promise<TeacherSession> {
  return NativeSession.open({ runtime: 'native', modelDir, threads: THREADS, maxLength: MAX_LENGTH });
}

function someIds(length: number, seed: number): Int32Array {
  return Int32Array.from({ length }, (_, i) => (i * i * 31 + i * 17 + seed * 101) % V);
}

function rowsAt(count: number): RowAsk[] {
  return Array.from({ length: count }, (_, at) => ({ at, label: (at * 7) % V, draw: { temperature: 0.7, uniform: (at * 0.618) % 1 } }));
}

function partOf(part: { lane: number; held: number; ids_S: Int32Array; after: After }): RunPart {
  return { ...part, rows: rowsAt(part.ids_S.length) };
}

/** Row `r` of the answers and the `count` - 1 behind it: logits, the label's, their log-sum-exp, and the rest. */
function rowsOf(rows: TeacherRows, r: number, count = 1): number[][] {
  const from = (array: Float32Array | Int32Array, width: number): number[] => Array.from(array.subarray(r * width, (r + count) * width));
  const single = [rows.labelLogits_R, rows.logSumExp_R, rows.labelRanks_R, rows.sampledIds_R, rows.sampledLogits_R].map((array) => from(array, 1));
  return [from(rows.topLogits_RK, K), ...single, from(rows.topIds_RK, K)];
}

function allOf(rows: TeacherRows): number[][] {
  return rowsOf(rows, 0, rows.logSumExp_R.length);
}

/** Cuts parts into runs as the rules have it. */
function inRuns(parts: readonly RunPart[], padding: Padding | undefined): RunPart[][] {
  if (!padding) return [[...parts]];
  const groups = new Map<string, RunPart[]>();
  for (const part of parts) {
    const key = JSON.stringify(layoutOf(padding, part.held, part.ids_S.length));
    groups.set(key, [...(groups.get(key) ?? []), part]);
  }
  return [...groups.values()];
}

describe.each(RUNTIMES)('a session of the $runtime runtime', ({ open, apart }) => {
  let dir: string;
  let session: TeacherSession;

  beforeAll(async () => {
    dir = await writeTinyModel(await mkdtemp(join(tmpdir(), 'limbeck-teacher-session-')));
    session = await open(dir);
  });

  afterAll(async () => {
    await session.close();
    await rm(dir, { recursive: true });
  });

  /** One sequence read in chunks, then continued id by id; the rows of every run of it. */
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

  function expectNear(actual: readonly number[], expected: readonly number[]): void {
    expect(actual).toHaveLength(expected.length);
    expect(Math.max(0, ...actual.map((value, index) => Math.abs(value - expected[index])))).toBeLessThan(apart);
  }

  it('answers a sequence among 15 others, joining and leaving, as it does alone', async () => {
    const sequences = Array.from({ length: 16 }, (_, i) => someIds(33 + 4 * i, i));
    const steps = 6;
    const alone: TeacherRows[][] = [];
    for (const [index, ids] of sequences.entries()) alone.push(await follow(100 + index, ids, steps));
    const together = sequences.map((ids_S, lane) => ({ lane, ids_S, held: 0, seen: [] as number[][][] }));

    for (let round = 0; round <= steps + 1; round++) {
      // Odd ones begin a round later, and every third leaves after three rounds.
      const present = together.filter(({ lane }) => round >= lane % 2 && (round < 3 || lane % 3 !== 0));
      const parts = present.map((one) => partOf({ ...one, ids_S: one.held === 0 ? one.ids_S : Int32Array.of(one.held - one.ids_S.length), after: 'decode' }));
      for (const group of inRuns(parts, session.rules.padding)) {
        const rows = await session.run({ parts: group, k: K });
        let r = 0;
        for (const part of group) {
          together[part.lane].seen.push(rowsOf(rows, r, part.rows.length));
          together[part.lane].held += part.ids_S.length;
          r += part.rows.length;
        }
      }
      if (round === 2) for (const { lane } of together.filter(({ lane }) => lane % 3 === 0)) session.forget(lane);
    }

    for (const { lane, seen } of together) {
      expect(seen.length).toBeGreaterThan(1);
      seen.slice(0, alone[lane].length).forEach((rows, run) => expect(rows).toEqual(allOf(alone[lane][run])));
      session.forget(lane);
    }
  });

  it('goes on across changes of width with the same distribution as when it reads all ids', async () => {
    const ids = someIds(2 * CHUNK + 20, 3);
    const begin = 2 * CHUNK - 4;
    await session.run({ parts: [partOf({ lane: 2, held: 0, ids_S: ids.slice(0, CHUNK), after: 'read' })], k: K });
    await session.run({ parts: [partOf({ lane: 2, held: CHUNK, ids_S: ids.slice(CHUNK, begin), after: 'decode' })], k: K });
    const read = await follow(3, ids, 0);
    for (let held = begin; held < ids.length; held++) {
      const rows = await session.run({ parts: [partOf({ lane: 2, held, ids_S: ids.slice(held, held + 1), after: 'decode' })], k: K });
      const [topLogits, , logSumExp] = rowsOf(rows, 0);
      const [readTopLogits, , readLogSumExp] = rowsOf(read[Math.floor(held / CHUNK)], held % CHUNK);
      expectNear([...topLogits, ...logSumExp], [...readTopLogits, ...readLogSumExp]);
    }
    session.forget(2);
  });

  it('keeps lanes apart when only some of them run', async () => {
    const ids = [someIds(20, 1), someIds(21, 2), someIds(22, 3)];
    const expected = await follow(10, ids[1], 2);
    for (const [lane, ids_S] of ids.entries()) await session.run({ parts: [partOf({ lane, held: 0, ids_S, after: 'decode' })], k: K });
    const first = await session.run({ parts: [partOf({ lane: 1, held: 21, ids_S: Int32Array.of(0), after: 'decode' })], k: K });
    session.forget(0);
    const second = await session.run({ parts: [partOf({ lane: 1, held: 22, ids_S: Int32Array.of(1), after: 'decode' })], k: K });
    for (const lane of [1, 2]) session.forget(lane);
    expect([allOf(first), allOf(second)]).toEqual(expected.slice(1).map(allOf));
  });

  it('runs a chunk of which no row is wanted', async () => {
    const ids = someIds(CHUNK + 8, 4);
    const expected = await follow(20, ids, 0);
    const none = await session.run({ parts: [{ lane: 21, held: 0, ids_S: ids.slice(0, CHUNK), after: 'read', rows: [] }], k: 1 });
    expect(none.sampledIds_R.length).toBeLessThanOrEqual(1);
    const rows = await session.run({ parts: [partOf({ lane: 21, held: CHUNK, ids_S: ids.slice(CHUNK), after: 'forget' })], k: K });
    expect(allOf(rows)).toEqual(allOf(expected[1]));
  });

  it('refuses to go on with a lane that does not hold what it should', async () => {
    await expect(session.run({ parts: [partOf({ lane: 30, held: 5, ids_S: Int32Array.of(1), after: 'forget' })], k: 1 })).rejects.toMatchObject({
      code: 'teacher_server.runtime_failed',
    });
  });
});
