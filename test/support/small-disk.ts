import { execFile } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const BALLAST = 'ballast';

/** A disk of its own, in memory, that can be filled. */
export class SmallDisk {
  private constructor(
    /** A directory on it. */
    readonly dir: string,
    private readonly root: string,
  ) {}

  /** @returns undefined where this process may not mount, which it prints. */
  static async mount(mebibytes: number): Promise<SmallDisk | undefined> {
    const root = await mkdtemp(join(tmpdir(), 'limbeck-disk-'));
    try {
      await run('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=700`, 'tmpfs', root]);
    } catch (error) {
      await rm(root, { recursive: true });
      console.warn(`skipped, for no disk can be mounted here: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
    return new SmallDisk(join(root, 'store'), root);
  }

  /** Leaves no room at all. */
  fill(): void {
    const file = openSync(join(this.root, BALLAST), 'a');
    try {
      for (let size = 2 ** 20; size >= 1; size = size >> 1) writeUntilFull(file, Buffer.alloc(size));
    } finally {
      closeSync(file);
    }
  }

  /** Gives the room back. */
  async clear(): Promise<void> {
    await rm(join(this.root, BALLAST));
  }

  async unmount(): Promise<void> {
    await run('umount', ['-l', this.root]);
    await rm(this.root, { recursive: true });
  }
}

function writeUntilFull(file: number, bytes: Buffer): void {
  try {
    for (;;) writeSync(file, bytes);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
  }
}
