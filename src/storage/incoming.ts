import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { makeDirectory, syncPath } from '../common/durable.js';
import { DiskFull } from './storage.errors.js';

const PREFIX = '.incoming-';
/** How long something unfinished is left alone: longer than any upload takes. Milliseconds. */
const STALE_MS = 86_400_000;

/** What was received, and where it waits. */
export interface Received {
  /** Absolute; the file is whole and synced. Whoever asked for it renames or removes it. */
  readonly path: string;
  readonly bytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

export interface ReceiveOptions {
  /** Where it waits; made when missing. On the same file system as where it goes. */
  readonly dir: string;
  readonly maxBytes: number;
  /** What to throw when more comes. */
  tooLarge(): Error;
  /** Sees every piece in order; what it throws ends the reception. */
  inspect?(piece: Uint8Array): void;
  /** Called when everything came; what it throws refuses the whole. */
  finish?(): void;
}

/**
 * Writes a stream to a file beside its goal, piece by piece. Nothing is left when it fails.
 * @throws what `tooLarge`, `inspect`, `finish` or the source throw; DiskFull.
 */
export async function receive(source: AsyncIterable<Uint8Array>, options: ReceiveOptions): Promise<Received> {
  await mkdir(options.dir, { recursive: true });
  const path = join(options.dir, `${PREFIX}${randomUUID()}`);
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      return { path, ...(await copy(source, file, options)) };
    } finally {
      await file.close();
    }
  } catch (cause) {
    await rm(path, { force: true });
    throw diskError(cause);
  }
}

/** The stream's pieces; a reader that stops early leaves the stream whole, so that its sender can still be answered. */
export function unbroken(source: Readable): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => source.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array> };
}

async function copy(source: AsyncIterable<Uint8Array>, file: FileHandle, { maxBytes, tooLarge, inspect, finish }: ReceiveOptions): Promise<Omit<Received, 'path'>> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of source) {
    bytes += piece.length;
    if (bytes > maxBytes) throw tooLarge();
    hash.update(piece);
    inspect?.(piece);
    for (let done = 0; done < piece.length; ) done += (await file.write(piece, done)).bytesWritten;
  }
  finish?.();
  await file.sync();
  return { bytes, sha256: hash.digest('hex') };
}

/** Gives a received file its place, replacing what stood there; durable on return. */
export async function settle(received: Received, target: string): Promise<void> {
  await makeDirectory(dirname(target));
  await rename(received.path, target);
  await syncPath(dirname(target));
}

/** Removes what a process that died left in a directory: entries older than a day that are `unfinished`. */
export async function removeStale(dir: string, unfinished: (name: string) => boolean | Promise<boolean>): Promise<void> {
  for (const name of await readdir(dir).catch(() => [])) {
    const path = join(dir, name);
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined && found.mtimeMs < Date.now() - STALE_MS && (await unfinished(name))) await rm(path, { recursive: true, force: true });
  }
}

/** Whether `receive` gave the name to a file that is still being received. */
export function isIncoming(name: string): boolean {
  return name.startsWith(PREFIX);
}

function diskError(cause: unknown): unknown {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return cause;
  return new DiskFull(`no room on the disk for what was sent (${code}); nothing of it was kept`, { cause });
}
