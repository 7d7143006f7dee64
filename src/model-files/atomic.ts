import { mkdir, open, readdir, rename, rm, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { makeDirectory, syncPath } from '../common/durable.js';
import { ModelDiskFull, OutputTaken } from './errors.js';

let written = 0;

/**
 * Writes a file whole or not at all: aside in the same directory, synced, renamed over `path`, directory synced. The directory must exist.
 * @throws ModelDiskFull; other faults of the disk come as Node gives them. Nothing is left behind.
 */
export async function writeFileAtomic(path: string, bytes: Uint8Array): Promise<void> {
  await writeChunksAtomic(path, [bytes]);
}

/** A file's place, and its bytes in chunks that are asked for one by one, so that memory holds one of them. */
export interface ChunkedFile {
  readonly path: string;
  readonly chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** As `writeFileAtomic`, from chunks. A failing source leaves nothing behind. */
export async function writeChunksAtomic(path: string, chunks: ChunkedFile['chunks']): Promise<void> {
  await writeTogetherAtomic([], { path, chunks });
}

/**
 * Writes a file and those it refers to, of the same directory, all or none: all of them aside, synced; then the referring file that may be there goes, and each takes its
 * name, the referring one last. After a crash in between it is missing, never beside files that it does not mean.
 * @throws ModelDiskFull; other faults of the disk as Node gives them. A failing source leaves everything as it was.
 */
export async function writeTogetherAtomic(referred: readonly ChunkedFile[], referring: ChunkedFile): Promise<void> {
  const files = [...referred, referring].map((file) => ({ ...file, aside: asidePath(file.path) }));
  try {
    for (const { aside, chunks } of files) await writeAside(aside, chunks);
    if (referred.length > 0) await rm(referring.path, { force: true });
    for (const { aside, path } of files) await rename(aside, path);
    await syncPath(dirname(resolve(referring.path)));
  } catch (cause) {
    for (const { aside } of files) await rm(aside, { force: true });
    throw diskError(cause, referring.path);
  }
}

/**
 * Makes a directory whole or not at all: `fill` writes into a directory aside, which is synced, then takes the name `dir`. Parents are made.
 * @throws OutputTaken before `fill` is called when `dir` exists and is not an empty directory; ModelDiskFull. Nothing is left behind.
 */
export async function writeDirectoryAtomic(dir: string, fill: (aside: string) => Promise<void>): Promise<void> {
  await refuseTaken(dir);
  const parent = dirname(resolve(dir));
  const aside = asidePath(resolve(dir));
  try {
    await makeDirectory(parent);
    await mkdir(aside);
    await fill(aside);
    await syncTree(aside);
    await rename(aside, dir);
    await syncPath(parent);
  } catch (cause) {
    await rm(aside, { recursive: true, force: true });
    if (hasCode(cause, 'ENOTEMPTY') || hasCode(cause, 'EEXIST')) throw new OutputTaken(dir);
    throw diskError(cause, dir);
  }
}

/** @throws OutputTaken unless `dir` does not exist or is an empty directory: asked before work whose result goes there. */
export async function refuseTaken(dir: string): Promise<void> {
  try {
    if ((await readdir(dir)).length > 0) throw new OutputTaken(dir);
  } catch (cause) {
    if (hasCode(cause, 'ENOTDIR')) throw new OutputTaken(dir);
    if (!hasCode(cause, 'ENOENT')) throw cause;
  }
}

/** Whether a caught value is a Node error with this code, such as `ENOENT`. */
export function hasCode(cause: unknown, code: string): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === code;
}

async function writeAside(aside: string, chunks: ChunkedFile['chunks']): Promise<void> {
  const file = await open(aside, 'wx');
  try {
    for await (const chunk of chunks) await writeAll(file, chunk);
    await file.sync();
  } finally {
    await file.close();
  }
}

function asidePath(path: string): string {
  written += 1;
  return join(dirname(path), `.${basename(path)}.${process.pid}-${written}.partial`);
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) done += (await file.write(bytes, done, Math.min(bytes.length - done, 2 ** 30))).bytesWritten;
}

async function syncTree(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else await syncPath(path);
  }
  await syncPath(dir);
}

function diskError(cause: unknown, path: string): unknown {
  return hasCode(cause, 'ENOSPC') || hasCode(cause, 'EDQUOT') ? new ModelDiskFull(path, cause) : cause;
}
