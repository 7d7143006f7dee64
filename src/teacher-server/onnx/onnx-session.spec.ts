import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TINY_MODEL, writeTinyModel } from '../../../test/support/tiny-model.js';
import { writeInterchangeModel } from '../../model-files/onnx/interchange-model.js';
import { layoutOf } from '../layout.js';
import { ONNX_PADDING } from './onnx-rules.js';
import { OnnxSession } from './onnx-session.js';

let dir: string;

beforeAll(async () => {
  dir = await writeTinyModel(await mkdtemp(join(tmpdir(), 'limbeck-onnx-session-')));
});

afterAll(async () => {
  await rm(dir, { recursive: true });
});

describe('layoutOf', () => {
  it.each([
    { held: 0, count: 1, layout: { past: 0, fresh: 1 } },
    { held: 0, count: 17, layout: { past: 0, fresh: 32 } },
    { held: 128, count: 128, layout: { past: 128, fresh: 128 } },
    { held: 129, count: 1, layout: { past: 256, fresh: 1 } },
  ])('is $layout for $count new after $held held', ({ held, count, layout }) => {
    expect(layoutOf(ONNX_PADDING, held, count)).toEqual(layout);
  });
});

describe('OnnxSession', () => {
  it.each([
    { name: 'a graph with other outputs', path: () => writeInterchangeModel(dir), words: 'has no output top_ids; remove the file' },
    { name: 'no graph', path: () => Promise.resolve(join(dir, 'absent.onnx')), words: 'absent.onnx cannot be loaded' },
  ])('does not open $name', async ({ path, words }) => {
    await expect(OnnxSession.open({ runtime: 'onnx', modelPath: await path(), threads: 1, cache: TINY_MODEL, vocabSize: TINY_MODEL.vocab, maxPositions: 512 })).rejects.toMatchObject({
      code: 'teacher_server.runtime_failed',
      message: expect.stringContaining(words),
    });
  });
});
