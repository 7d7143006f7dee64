import { lstat, open, readFile, readdir, rename, rm, truncate } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { makeDirectory, makeDirectoryNow, syncPath } from '../common/durable.js';
import { sha256OfFile } from '../common/file-hash.js';
import { isPlace } from './places.js';
import { DiskFull, NameRefused, NameTaken } from './storage.errors.js';

/** How files and directories are called while they are written, here and in model-files: the name they will get, process, counter. */
const UNWRITTEN = /^\.(.+?)\.\d+(?:-\d+)?\.partial$/;

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

  async sha256(name: string): Promise<string | undefined> {
    const place = this.#place(name);
    return (await exists(place)) ? sha256OfFile(place) : undefined;
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    const target = this.#place(name);
    const aside = join(dirname(target), `.${basename(target)}.${process.pid}.partial`);
    try {
      await makeDirectory(dirname(target));
      await writeDurably(aside, 'w', bytes);
      await rename(aside, target);
      await syncPath(dirname(target));
    } catch (cause) {
      await rm(aside, { force: true });
      throw diskError(cause, name);
    }
  }

  async append(name: string, bytes: Uint8Array): Promise<void> {
    const target = this.#place(name);
    const before = await sizeOf(target);
    try {
      await makeDirectory(dirname(target));
      await writeDurably(target, 'a', bytes);
      await syncPath(dirname(target));
    } catch (cause) {
      await truncate(target, before).catch(() => undefined); // a part of the bytes may be there, and would stand before those of the next try
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
    await makeDirectory(dirname(target));
    await syncTree(this.#place(from));
    await rename(this.#place(from), target);
    await syncPath(dirname(target));
  }

  async sweep(folder: string, isLeftover: (name: string, state: 'written' | 'unwritten') => boolean): Promise<void> {
    const directory = folder === '' ? this.#root : this.#place(folder);
    for (const entry of await entriesOf(directory)) {
      const [, unwritten] = UNWRITTEN.exec(entry.name) ?? [];
      const name = (folder === '' ? '' : `${folder}/`) + (unwritten ?? entry.name);
      if (!isPlace(name)) continue;
      if (isLeftover(name, unwritten === undefined ? 'written' : 'unwritten')) await rm(join(directory, entry.name), { recursive: true, force: true });
      else if (entry.isDirectory() && unwritten === undefined) await this.sweep(name, isLeftover);
    }
  }

  path(name: string): string {
    const place = this.#place(name);
    try {
      makeDirectoryNow(dirname(place));
    } catch (cause) {
      throw diskError(cause, name);
    }
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

/** Every file and every directory's names: a rename is only worth something once what it renames is durable. */
async function syncTree(directory: string): Promise<void> {
  for (const entry of await entriesOf(directory)) {
    const path = join(directory, entry.name);
    await (entry.isDirectory() ? syncTree(path) : syncPath(path));
  }
  await syncPath(directory);
}

async function exists(path: string): Promise<boolean> {
  return (await found(path)) !== undefined;
}

async function sizeOf(path: string): Promise<number> {
  return (await found(path))?.size ?? 0;
}

async function found(path: string) {
  try {
    return await lstat(path);
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return undefined;
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

function diskError(cause: unknown, name: string): unknown {
  const code = codeOf(cause);
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return cause;
  return new DiskFull(`no room on the disk for ${name} (${code}); free some space and resume the run`, { cause });
}

function codeOf(cause: unknown): string | undefined {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined;
}
