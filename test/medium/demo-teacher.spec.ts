import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type * as DemoTeacher from '../../src/cli/demo/demo-teacher.js';
import { compiled } from '../support/compiled.js';
import { getJson } from '../support/http-json.js';
import { writeTinyModel } from '../support/tiny-model.js';

let dir: string;
let demo: typeof DemoTeacher;

beforeAll(async () => {
  dir = await writeTinyModel(await mkdtemp(join(tmpdir(), 'limbeck-demo-teacher-')));
  demo = (await import(await compiled('src/cli/demo/demo-teacher.ts'))) as typeof DemoTeacher;
});

afterAll(async () => {
  await rm(dir, { recursive: true });
});

it.each(['onnx', 'native'] as const)('starts the %s runtime when asked to', async (choice) => {
  const said: string[] = [];
  const teacher = await demo.startDemoTeacher({ modelDir: dir, port: 0 }, choice, (text) => said.push(text));
  expect(said).toEqual([`the teacher runs on the ${choice} runtime, as asked for`]);
  expect((await getJson(`${teacher.url}/health`)).status).toBe(200);
  await teacher.stop();
});

it('measures both on auto, says what it saw and keeps the faster one', async () => {
  const said: string[] = [];
  const teacher = await demo.startDemoTeacher({ modelDir: dir, port: 0, apiKey: 'key' }, 'auto', (text) => said.push(text));
  expect(said).toEqual([expect.stringMatching(/^the teacher runs on the (native|onnx) runtime: its probe took \d+ ms on native and \d+ ms on onnx here$/)]);
  expect((await getJson(`${teacher.url}/v1/models`, { authorization: 'Bearer key' })).status).toBe(200);
  await teacher.stop();
});
