import { createHash } from 'node:crypto';
import { cp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { CheckpointRef } from '../../../src/engine/engine.js';
import type { PackedBatch } from '../../../src/tokens/batch.js';
import type { LossSums } from '../../../src/tokens/loss.js';
import type { TestedEngine } from '../../support/engines.js';
import { listed, weightOf } from '../../support/scored-batch.js';
import { ADAM, FORWARD_KL, FROZEN, lossOf, STUDENT, type Contract } from './contract.js';
import { REQUEST } from './sampling.js';

const REFUSED = { code: 'engine.checkpoint_invalid', kind: 'invalid' };

/** Two steps with different losses; everything seen on the way. */
async function train(engine: TestedEngine, batch: PackedBatch): Promise<(LossSums | { readonly gradNorm: number })[]> {
  const seen = [];
  for (const kind of ['forward_kl', 'reverse_kl'] as const) {
    seen.push(await engine.forwardBackward(batch, lossOf(kind), weightOf(batch)));
    seen.push(await engine.optimStep(ADAM));
  }
  return seen;
}

/** Whatever an observer can tell of an engine's state. */
async function impression(engine: TestedEngine, batch: PackedBatch): Promise<unknown> {
  return { sums: await engine.forward(batch, FORWARD_KL), step: (await engine.describe()).step, completions: await listed(engine.sample(REQUEST)) };
}

/** `save`, `load` and `exportWeights`. */
export function checkpointContract({ open, openDirectory, openModel, batch, bounds, freshPath, studentDir }: Contract): void {
  it('a fresh engine goes on from a checkpoint bit for bit, and so does the one that wrote it', async () => {
    const packed = await batch();
    const undisturbed = await open();
    await train(undisturbed, packed);
    const wanted = [await train(undisturbed, packed), await impression(undisturbed, packed)];

    const writer = await open();
    await train(writer, packed);
    const ref = await writer.save(freshPath());
    expect(ref.step).toBe(2);
    expect(ref.bytes).toBe((await Promise.all((await readdir(ref.dir)).map(async (file) => (await stat(join(ref.dir, file))).size))).reduce((sum, size) => sum + size, 0));
    expect([await train(writer, packed), await impression(writer, packed)]).toEqual(wanted);

    const reader = await open();
    await reader.load(ref);
    expect((await reader.describe()).step).toBe(2);
    expect([await train(reader, packed), await impression(reader, packed)]).toEqual(wanted);
    const [ours, theirs] = [freshPath(), freshPath()];
    await reader.exportWeights(ours);
    await undisturbed.exportWeights(theirs);
    expect(await checksums(ours)).toEqual(await checksums(theirs));
  });

  it('a checkpoint before the first step restores the beginning', async () => {
    const packed = await batch();
    const engine = await open();
    const before = await impression(engine, packed);
    const ref = await engine.save(freshPath());
    const first = await train(engine, packed);
    await engine.load(ref);
    expect(await impression(engine, packed)).toEqual(before);
    expect(await train(engine, packed)).toEqual(first);
  });

  it('load forgets the gradients held', async () => {
    const engine = await open();
    const ref = await engine.save(freshPath());
    await engine.forwardBackward(await batch(), FORWARD_KL, 1);
    await engine.load(ref);
    expect((await engine.optimStep(FROZEN)).gradNorm).toBe(0);
  });

  it('save refuses a directory that exists and leaves it alone', async () => {
    const engine = await open();
    const { dir } = await engine.save(freshPath());
    const before = await checksums(dir);
    await engine.forwardBackward(await batch(), FORWARD_KL, 1);
    await engine.optimStep(ADAM);
    await expect(engine.save(dir)).rejects.toMatchObject(REFUSED);
    expect(await checksums(dir)).toEqual(before);
  });

  describe('load refuses and leaves the engine as it was', () => {
    it('a checkpoint with any file damaged, cut short or missing', async () => {
      const packed = await batch();
      const { ref, engine } = await trained();
      const before = await impression(engine, packed);
      await engine.forwardBackward(packed, FORWARD_KL, 10);
      for (const file of await readdir(ref.dir)) {
        for (const [what, damage] of Object.entries(DAMAGES)) {
          const copy = { ...ref, dir: freshPath() };
          await cp(ref.dir, copy.dir, { recursive: true });
          await damage(join(copy.dir, file));
          await expect(engine.load(copy), `${file} ${what}`).rejects.toMatchObject(REFUSED);
        }
      }
      expect((await engine.optimStep(FROZEN)).gradNorm).toBeGreaterThan(0);
      expect(await impression(engine, packed)).toEqual(Object.assign({}, before, { step: ref.step + 3 }));
    });

    it('a directory that is not there', async () => {
      await expect((await open()).load({ dir: freshPath(), step: 0 })).rejects.toMatchObject(REFUSED);
    });

    it('a checkpoint of another step', async () => {
      const { ref, engine } = await trained();
      await expect(engine.load({ ...ref, step: ref.step + 1 })).rejects.toMatchObject(REFUSED);
    });

    it('a checkpoint of another model', async () => {
      const { ref } = await trained();
      await expect((await openModel({ intermediate: STUDENT.intermediate + 2 })).load(ref)).rejects.toMatchObject(REFUSED);
    });
  });

  describe('exportWeights', () => {
    it('writes back the very weights it was opened on', async () => {
      const dir = freshPath();
      await (await open()).exportWeights(dir);
      expect(await checksums(dir)).toMatchObject({ 'model.safetensors': (await checksums(studentDir()))['model.safetensors'] });
    });

    it('writes what an engine opens and finds to be the trained model, but for one rounding to bf16', async () => {
      const packed = await batch();
      const { engine } = await trained();
      const dir = freshPath();
      await engine.exportWeights(dir);
      const { lossNats } = await (await openDirectory(dir)).forward(packed, FORWARD_KL);
      const wanted = await engine.forward(packed, FORWARD_KL);
      expect(Math.abs(lossNats - wanted.lossNats) / wanted.weightSum).toBeLessThan(Math.max(bounds.nats, 0.02));
      expect((await (await open()).forward(packed, FORWARD_KL)).lossNats - wanted.lossNats).toBeGreaterThan(wanted.weightSum * 0.05);
    });
  });

  /** An engine two steps on, saved, and one step further. */
  async function trained(): Promise<{ readonly ref: CheckpointRef; readonly engine: TestedEngine }> {
    const engine = await open();
    await train(engine, await batch());
    const ref = await engine.save(freshPath());
    await train(engine, await batch());
    return { ref, engine };
  }
}

const DAMAGES: Record<string, (path: string) => Promise<void>> = {
  'cut short': async (path) => truncate(path, Math.floor((await stat(path)).size * 0.7)),
  'with one bit of its last line turned': (path) => turnBit(path, -8),
  missing: (path) => rm(path),
};

async function turnBit(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.length + at] ^= 1;
  await writeFile(path, bytes);
}

/** The sha256 of each file of a directory. */
async function checksums(dir: string): Promise<Record<string, string>> {
  const names = (await readdir(dir)).sort();
  const hash = async (name: string): Promise<string> => createHash('sha256').update(await readFile(join(dir, name))).digest('hex');
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await hash(name)] as const)));
}
