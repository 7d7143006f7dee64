import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { loadKernels } from '../../../kernels/binding/kernels.js';
import { packSequences } from '../../../test/support/scored-batch.js';
import { TINY_FAMILIES, writeTinyModel } from '../../../test/support/tiny-model.js';
import { readModelConfig } from '../../model-files/config.js';
import { ELEMENT_BYTES, type Elements } from './arena.js';
import { NativeEngine } from './native-engine.js';
import { inferencePlan, trainingPlan } from './plan.js';

const BLOCK_STEP_ELEMENTS = 1 << 18;
const sequences = Array.from({ length: 12 }, (_, s) => ({ ids_T: new Int32Array(200 + 20 * s).fill(s), from: 100 }));
const batch = packSequences(sequences);
const size = { rows: batch.tokens_N.length, picked: batch.rows_R.length };

let root: string;
const open: NativeEngine[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'limbeck-plan-'));
  // No two tensors of a layer of one width: memory that one gives back would serve the other, and the plan would not be exact.
  const shape = { layers: 5, intermediate: 52, tied: false, tokenizer: 'none' } as const;
  for (const [name, family] of Object.entries(TINY_FAMILIES)) await writeTinyModel(join(root, name), { ...shape, ...family });
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((engine) => engine.close()));
});

afterAll(() => rm(root, { recursive: true, force: true }));

async function opened(name: string): Promise<NativeEngine> {
  const engine = await NativeEngine.open({ modelDir: join(root, name), threads: 2 });
  open.push(engine);
  return engine;
}

function heldBytes(plan: Elements): number {
  return (['f32', 'bf16', 'i32'] as const).reduce((sum, dtype) => sum + Math.ceil(plan[dtype] / BLOCK_STEP_ELEMENTS) * BLOCK_STEP_ELEMENTS * ELEMENT_BYTES[dtype], 0);
}

test.each(Object.keys(TINY_FAMILIES))('an evaluation, then a training pass of a model of the family %s, hold exactly the memory that was planned for them', async (name) => {
  const kernels = loadKernels();
  const config = await readModelConfig(join(root, name));
  const engine = await opened(name);
  const before = kernels.allocatedBytes();
  await engine.forward(batch, { kind: 'hard' });
  expect(kernels.allocatedBytes() - before).toBe(heldBytes(inferencePlan(config, size)));
  await engine.readGradients(); // allocates gradients and moments
  const trained = kernels.allocatedBytes() - heldBytes(inferencePlan(config, size));
  await engine.forwardBackward(batch, { kind: 'hard' }, 1);
  expect(kernels.allocatedBytes() - trained).toBe(heldBytes(trainingPlan(config, size)));
});

test('scoring and sampling stay within the plan of an evaluation', async () => {
  const kernels = loadKernels();
  const engine = await opened('llama');
  await engine.forward(batch, { kind: 'hard' });
  const before = kernels.allocatedBytes();
  for await (const block of engine.score({ sequences: sequences.slice(0, 5), k: 4 })) expect(block.tail_R.length).toBeGreaterThan(0);
  const prompts = sequences.slice(0, 8).map(({ ids_T }, sample) => ({ ids_T, sample }));
  const sampling = { temperature: 1, topP: 1, topK: 0, maxTokens: 3, stopIds: [] };
  for await (const { ids_T } of engine.sample({ prompts, sampling, key: { seed: 1, stage: 1, step: 1 } })) expect(ids_T.length).toBe(3);
  expect(kernels.allocatedBytes()).toBe(before);
});
