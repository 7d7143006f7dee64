import { createHash } from 'node:crypto';
import { RunStore } from '../../src/distillation/store.js';

/** A run's files in memory, for tests of what never writes whole directories. */
export class MemoryStore extends RunStore {
  readonly files = new Map<string, Uint8Array>();

  async read(name: string): Promise<Uint8Array | undefined> {
    return this.files.get(name);
  }

  async sha256(name: string): Promise<string | undefined> {
    const bytes = this.files.get(name);
    return bytes && createHash('sha256').update(bytes).digest('hex');
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    this.files.set(name, Uint8Array.from(bytes));
  }

  async append(name: string, bytes: Uint8Array): Promise<void> {
    this.files.set(name, Buffer.concat([this.files.get(name) ?? new Uint8Array(), bytes]));
  }

  async list(prefix: string): Promise<string[]> {
    return [...this.files.keys()].filter((name) => name.startsWith(prefix)).sort();
  }

  async remove(name: string): Promise<void> {
    for (const file of this.files.keys()) if (file === name || file.startsWith(`${name}/`)) this.files.delete(file);
  }

  async publish(from: string, to: string): Promise<void> {
    for (const [file, bytes] of [...this.files]) {
      if (!file.startsWith(`${from}/`)) continue;
      this.files.delete(file);
      this.files.set(`${to}${file.slice(from.length)}`, bytes);
    }
  }

  async sweep(folder: string, isLeftover: Parameters<RunStore['sweep']>[1]): Promise<void> {
    for (const file of [...this.files.keys()]) {
      const parts = file.split('/');
      const names = parts.map((_, index) => parts.slice(0, index + 1).join('/')).filter((name) => folder === '' || name.startsWith(`${folder}/`));
      if (names.some((name) => isLeftover(name, 'written'))) this.files.delete(file);
    }
  }

  path(name: string): string {
    throw new Error(`${name} has no place on disk`);
  }
}
