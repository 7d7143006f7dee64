import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ReferenceEngine } from '../engine/reference/reference-engine.js';
import { writeTinyModel } from '../../test/support/tiny-model.js';
import { StudentEngine } from './student-engine.js';

let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'student-engine-'));
  await writeTinyModel(join(dir, 'model'), { layers: 1, tokenizer: 'none' });
});
afterAll(() => rm(dir, { recursive: true, force: true }));

it('opens an engine when one is needed, and another only when the starting weights are gone', async () => {
  let opened = 0;
  const student = new StudentEngine(() => {
    opened++;
    return ReferenceEngine.open(join(dir, 'model'));
  });
  expect(opened).toBe(0);

  const first = await student.start();
  expect(await student.start()).toBe(first);
  student.beginTraining();
  expect(await student.current()).toBe(first);
  expect(await student.start()).not.toBe(first);

  expect(opened).toBe(2);
  await expect(first.save(join(dir, 'late'))).rejects.toMatchObject({ code: 'engine.failed' });
  await student.close();
});

it('keeps what it holds when a checkpoint is refused', async () => {
  const student = new StudentEngine(() => ReferenceEngine.open(join(dir, 'model')));
  const engine = await student.start();

  await expect(student.load({ name: 'absent', dir: join(dir, 'absent') }, 0)).rejects.toMatchObject({ code: 'engine.checkpoint_invalid' });

  expect(await student.start()).toBe(engine);
  await student.close();
});
