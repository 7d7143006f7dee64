import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { writeTinyModel } from '../../../test/support/tiny-model.js';
import { SafetensorsFile } from '../../model-files/safetensors.js';
import type { PackedBatch } from '../../tokens/batch.js';
import { CheckpointInvalid, type CheckpointRef } from '../engine.js';
import { ReferenceEngine } from '../reference/reference-engine.js';
import { NativeEngine } from './native-engine.js';

const adam = { learningRate: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.01, clip: 1 };
const batch: PackedBatch = {
  tokens_N: Int32Array.from({ length: 24 }, (_, n) => (n * 29 + 3) % 288),
  cuSeqlens_S1: Int32Array.of(0, 9, 24),
  rows_R: Int32Array.of(2, 3, 4, 10, 15, 20),
  weights_R: new Float32Array(6).fill(1),
  labels_R: Int32Array.of(90, 119, 148, 34, 179, 36),
};

let root: string;
let dir: string;
const engines: NativeEngine[] = [];
const warnings: string[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'limbeck-checkpoint-'));
  await writeTinyModel(join(root, 'model'), { tied: false, tokenizer: 'none' });
  await writeTinyModel(join(root, 'other'), { tied: false, layers: 3, tokenizer: 'none' });
});

beforeEach(async () => {
  dir = await mkdtemp(join(root, 'case-'));
  warnings.length = 0;
});

afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
});

afterAll(() => rm(root, { recursive: true, force: true }));

async function openEngine(model = 'model', threads = 2): Promise<NativeEngine> {
  const engine = await NativeEngine.open({ modelDir: join(root, model), threads, onWarning: (message) => warnings.push(message) });
  engines.push(engine);
  return engine;
}

async function train(engine: NativeEngine, steps: number): Promise<number[]> {
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    losses.push((await engine.forwardBackward(batch, { kind: 'hard' }, 6)).lossNats);
    await engine.optimStep(adam);
  }
  return losses;
}

async function exported(engine: NativeEngine, name: string): Promise<Buffer> {
  await engine.exportWeights(join(dir, name));
  return readFile(join(dir, name, 'model.safetensors'));
}

async function lossOf(engine: NativeEngine): Promise<number> {
  return (await engine.forward(batch, { kind: 'hard' })).lossNats;
}

test('training goes on from a checkpoint in a new engine bit for bit', async () => {
  const first = await openEngine();
  await train(first, 3);
  const ref = await first.save(join(dir, 'checkpoint'));
  const sizes = await Promise.all((await readdir(ref.dir)).map(async (name) => (await stat(join(ref.dir, name))).size));
  expect(ref).toEqual({ dir: join(dir, 'checkpoint'), step: 3, bytes: sizes.reduce((sum, size) => sum + size, 0) });
  const undisturbed = await train(first, 3);
  const second = await openEngine();
  await second.load(ref);
  expect((await second.describe()).step).toBe(3);
  expect(await train(second, 3)).toEqual(undisturbed);
  await first.save(join(dir, 'end-a'));
  await second.save(join(dir, 'end-b'));
  for (const name of await readdir(join(dir, 'end-a'))) {
    expect((await readFile(join(dir, 'end-b', name))).equals(await readFile(join(dir, 'end-a', name)))).toBe(true);
  }
  expect(warnings).toEqual([]);
});

test('loading forgets gradients and returns to the saved weights', async () => {
  const engine = await openEngine();
  await train(engine, 1);
  const saved = await lossOf(engine);
  const ref = await engine.save(join(dir, 'checkpoint'));
  await train(engine, 2);
  await engine.forwardBackward(batch, { kind: 'hard' }, 6);
  await engine.load(ref);
  expect(await lossOf(engine)).toBe(saved);
  expect((await engine.optimStep({ ...adam, weightDecay: 0 })).gradNorm).toBe(0);
});

test('another build or thread count is said to be inexact', async () => {
  const ref = await (await openEngine()).save(join(dir, 'checkpoint'));
  await (await openEngine('model', 1)).load(ref);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toMatch(/not bit for bit/);
});

test('nothing is left beside a checkpoint, and an existing one is not replaced', async () => {
  const engine = await openEngine();
  await engine.save(join(dir, 'checkpoint'));
  expect(await readdir(dir)).toEqual(['checkpoint']);
  await expect(engine.save(join(dir, 'checkpoint'))).rejects.toThrow(CheckpointInvalid);
});

describe('a checkpoint that is not whole is refused and the engine stays as it was', () => {
  const harm: readonly (readonly [string, (checkpoint: string) => Promise<void>, RegExp])[] = [
    ['a file missing', (checkpoint) => rm(join(checkpoint, 'm.safetensors')), /m\.safetensors cannot be read/],
    ['a file cut short', (checkpoint) => truncate(join(checkpoint, 'v.safetensors'), 500), /v\.safetensors has 500 bytes/],
    ['a flipped bit', flipLastByte, /master\.safetensors is damaged/],
    ['no manifest', (checkpoint) => rm(join(checkpoint, 'checkpoint.json')), /checkpoint\.json cannot be read/],
    ['a manifest of an older format', toOlderFormat, /not the manifest of a checkpoint of this version/],
    ['a manifest that is no JSON', (checkpoint) => writeFile(join(checkpoint, 'checkpoint.json'), '{'), /not the manifest/],
  ];

  async function flipLastByte(checkpoint: string): Promise<void> {
    const path = join(checkpoint, 'master.safetensors');
    const bytes = await readFile(path);
    bytes[bytes.length - 1] ^= 1;
    await writeFile(path, bytes);
  }

  async function toOlderFormat(checkpoint: string): Promise<void> {
    const path = join(checkpoint, 'checkpoint.json');
    await writeFile(path, (await readFile(path, 'utf8')).replace('"format": 1', '"format": 0'));
  }

  test.each(harm)('%s', async (_name, spoil, message) => {
    const engine = await openEngine();
    const ref = await engine.save(join(dir, 'checkpoint'));
    await train(engine, 1);
    const before = await lossOf(engine);
    await spoil(ref.dir);
    await expect(engine.load(ref)).rejects.toThrow(CheckpointInvalid);
    await expect(engine.load(ref)).rejects.toThrow(message);
    expect(await lossOf(engine)).toBe(before);
    expect((await engine.describe()).step).toBe(1);
  });

  test('another step than was asked for', async () => {
    const engine = await openEngine();
    const ref: CheckpointRef = await engine.save(join(dir, 'checkpoint'));
    await expect(engine.load({ ...ref, step: 4 })).rejects.toThrow(/is of step 0; step 4 was asked for/);
  });

  test('another model', async () => {
    const ref = await (await openEngine('other')).save(join(dir, 'checkpoint'));
    await expect((await openEngine()).load(ref)).rejects.toThrow(/another configuration/);
  });
});

test('exported weights are those of the model directory, and another engine opens them', async () => {
  const engine = await openEngine();
  const bytes = await exported(engine, 'export');
  const original = await SafetensorsFile.open(join(root, 'model', 'model.safetensors'));
  const copy = await SafetensorsFile.open(join(dir, 'export', 'model.safetensors'));
  expect([...copy.entries.keys()].sort()).toEqual([...original.entries.keys()].sort());
  for (const name of original.entries.keys()) expect(Buffer.from((await copy.read(name)).bytes)).toEqual(Buffer.from((await original.read(name)).bytes));
  await original.close();
  await copy.close();
  await train(engine, 2);
  expect((await exported(engine, 'trained')).equals(bytes)).toBe(false);
  const reopened = await ReferenceEngine.open(join(dir, 'trained'));
  expect((await reopened.forward(batch, { kind: 'hard' })).lossNats / (await lossOf(engine))).toBeCloseTo(1, 2);
});
