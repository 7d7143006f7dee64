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
  it('holds keys and values of the lanes it was given, and nothing once they are forgotten and it is closed', async () => {
    const kernels = loadKernels();
    const before = kernels.allocatedBytes();
    const session = await open();
    await session.run({ parts: [part(0, 0, 200)], k: 1 });
    session.forget(0);
    const empty = kernels.allocatedBytes();
    const positionBytes = 2 * 2 * TINY_MODEL.layers * TINY_MODEL.kvHeads * TINY_MODEL.headDim;

    await session.run({ parts: [part(1, 0, 100)], k: 1 });
    expect(kernels.allocatedBytes() - empty).toBe(256 * positionBytes);
    await session.run({ parts: [part(1, 100, 100), part(2, 0, 100)], k: 1 });
    expect(kernels.allocatedBytes() - empty).toBe(2 * 256 * positionBytes);
    await session.run({ parts: [part(1, 200, 57)], k: 1 }); // outgrows its class, whose other lane keeps both slots
    expect(kernels.allocatedBytes() - empty).toBe((2 * 256 + 512) * positionBytes);
    for (const lane of [1, 2, 3]) session.forget(lane);
    expect(kernels.allocatedBytes()).toBe(empty);

    await session.close();
    expect(kernels.allocatedBytes()).toBe(before);
  });

  it('refuses a sequence longer than memory holds, naming what it does hold', async () => {
    await expect(open(2 ** 48)).rejects.toMatchObject({
      code: 'teacher_server.runtime_failed',
      message: expect.stringMatching(/there is memory for \d+ positions; set maxModelLen, now 281474976710656, to that or less/),
    });
  });
});
