import { mkdirSync } from 'node:fs';
import { lstat, mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { isPlace } from './places.js';
import { DiskFull, NameRefused, NameTaken } from './storage.errors.js';

/**
 * A run's files in one directory; the directory-backed `RunStore` of the distillation core, whose contract it keeps. Files still being
 * written begin with a dot and are never listed.
 * @throws NameRefused, DiskFull; other faults of the disk come as Node gives them.
 */
export class DirectoryStore {
  readonly #root: string;

  /** @param root made when the first file is written. */
  constructor(root: string) {
    this.#root = resolve(root);
  }

  async read(name: string): Promise<Uint8Array | undefined> {
    try {
      return await readFile(this.#place(name));
    } catch (cause) {
      if (codeOf(cause) === 'ENOENT') return undefined;
      throw cause;
    }
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    const target = this.#place(name);
    const aside = join(dirname(target), `.${basename(target)}.${process.pid}.partial`);
    try {
      await mkdir(dirname(target), { recursive: true });
      await writeDurably(aside, 'w', bytes);
      await rename(aside, target);
      await syncDirectory(dirname(target));
    } catch (cause) {
      await rm(aside, { force: true });
      throw diskError(cause, name);
    }
  }

  async append(name: string, bytes: Uint8Array): Promise<void> {
    const target = this.#place(name);
    try {
      await mkdir(dirname(target), { recursive: true });
      await writeDurably(target, 'a', bytes);
      await syncDirectory(dirname(target));
    } catch (cause) {
      throw diskError(cause, name);
    }
  }

  async list(prefix: string): Promise<string[]> {
    const folder = prefix.includes('/') ? prefix.slice(0, prefix.lastIndexOf('/')) : '';
    const names = await this.#walk(folder);
    return names.filter((name) => name.startsWith(prefix)).sort((a, b) => (a < b ? -1 : 1));
  }

  async remove(name: string): Promise<void> {
    await rm(this.#place(name), { recursive: true, force: true });
  }

  async publish(from: string, to: string): Promise<void> {
    const target = this.#place(to);
    if (await exists(target)) throw new NameTaken(`${target} exists already; remove it or choose another place`);
    await mkdir(dirname(target), { recursive: true });
    for (const name of await this.#walk(from)) await syncFile(this.#place(name));
    await rename(this.#place(from), target);
    await syncDirectory(dirname(target));
  }

  path(name: string): string {
    const place = this.#place(name);
    mkdirSync(dirname(place), { recursive: true });
    return place;
  }

  #place(name: string): string {
    if (!isPlace(name)) throw new NameRefused(`"${name}" is no file name of a run; right are parts of A-Z a-z 0-9 . _ - joined by /, none beginning with a dot`);
    return join(this.#root, name);
  }

  async #walk(folder: string): Promise<string[]> {
    const names: string[] = [];
    for (const entry of await entriesOf(folder === '' ? this.#root : this.#place(folder))) {
      if (entry.name.startsWith('.')) continue;
      const name = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) names.push(...(await this.#walk(name)));
      else names.push(name);
    }
    return names;
  }
}

async function entriesOf(directory: string) {
  try {
    return await readdir(directory, { withFileTypes: true });
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return [];
    throw cause;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return false;
    throw cause;
  }
}

async function writeDurably(path: string, flag: 'w' | 'a', bytes: Uint8Array): Promise<void> {
  const file = await open(path, flag);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A rename is only durable once its directory is. */
const syncDirectory = syncFile;

function diskError(cause: unknown, name: string): unknown {
  const code = codeOf(cause);
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return cause;
  return new DiskFull(`no room on the disk for ${name} (${code}); free some space and resume the run`, { cause });
}

function codeOf(cause: unknown): string | undefined {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined;
}
