import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadKernels } from '../../../kernels/binding/kernels.js';
import { TINY_MODEL, writeTinyModel } from '../../../test/support/tiny-model.js';
import type { RunPart } from '../runtime.js';
import { NativeSession } from './native-session.js';

const MAX_LENGTH = 512;

let dir: string;

beforeAll(async () => {
  dir = await writeTinyModel(await mkdtemp(join(tmpdir(), 'limbeck-native-session-')));
});

afterAll(async () => {
  await rm(dir, { recursive: true });
});

function open(maxLength = MAX_LENGTH): Promise<NativeSession> {
  return NativeSession.open({ runtime: 'native', modelDir: dir, threads: 1, maxLength });
}

function part(lane: number, held: number, count: number): RunPart {
  return { lane, held, ids_S: Int32Array.from({ length: count }, (_, i) => (i * 7 + lane) % TINY_MODEL.vocab), rows: [], after: 'decode' };
}

describe('NativeSession', () => {
  it('holds nothing once it is closed', async () => {
    const kernels = loadKernels();
    const before = kernels.allocatedBytes();
    const session = await open();
    await session.run({ parts: [part(0, 0, 40), part(1, 0, 90)], k: 1 });
    await session.run({ parts: [part(0, 40, 100)], k: 1 });
    expect(kernels.allocatedBytes()).toBeGreaterThan(before);
    await session.close();
    expect(kernels.allocatedBytes()).toBe(before);
  });

  it('gives a prompt that begins like another the bits it has alone', async () => {
    const prompt = Array.from({ length: 50 }, (_, i) => (i * 11 + 5) % TINY_MODEL.vocab);
    const ids = (end: number): Int32Array => Int32Array.from([...prompt, ...Array.from({ length: 30 }, (_, i) => (i * end) % TINY_MODEL.vocab)]);
    const scored = (lane: number, end: number): RunPart => {
      const ids_S = ids(end);
      return { lane, held: 0, ids_S, rows: Array.from({ length: 30 }, (_, i) => ({ at: 49 + i, label: ids_S[50 + i] ?? 0 })), after: 'forget' };
    };
    const [alone, together] = [await open(), await open()];
    await together.run({ parts: [scored(0, 3)], k: 4 });
    const found = await together.run({ parts: [scored(1, 5), scored(2, 7)], k: 4 });
    const wanted = await alone.run({ parts: [scored(0, 5), scored(1, 7)], k: 4 });
    expect(found).toEqual(wanted);
    await Promise.all([alone.close(), together.close()]);
  });

  it('refuses a sequence longer than memory holds, naming what it does hold', async () => {
    await expect(open(2 ** 48)).rejects.toMatchObject({
      code: 'teacher_server.runtime_failed',
      message: expect.stringMatching(/there is memory for \d+ positions; set maxModelLen, now 281474976710656, to that or less/),
    });
  });
});
