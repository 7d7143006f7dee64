import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Case } from './case.js';
import { SHAPES, writeRandomModel } from './shapes.js';

/** Directories of random weights, each written when it is first asked for, all removed in the end. */
export class RandomModels {
  private readonly written = new Map<string, string>();
  private root: string | undefined;

  /** @returns the directory; an empty path for a case that needs none. */
  async dirOf({ model }: Pick<Case, 'model'>): Promise<string> {
    if (!model) return '';
    const key = `${model.name}-${model.layers ?? 'all'}`;
    const there = this.written.get(key);
    if (there !== undefined) return there;
    this.root ??= await mkdtemp(join(tmpdir(), 'limbeck-bench-'));
    const shape = SHAPES[model.name];
    const dir = await writeRandomModel({ ...shape, layers: model.layers ?? shape.layers }, join(this.root, key));
    this.written.set(key, dir);
    return dir;
  }

  async remove(): Promise<void> {
    if (this.root !== undefined) await rm(this.root, { recursive: true, force: true });
  }
}
