import { closeSync, constants, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

/** Makes a file's bytes, or a directory's names, durable. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a directory and those above it that are missing; on return their names are durable. */
export async function makeDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first !== undefined) for (const parent of parentsOf(path, first)) await syncPath(parent);
}

/** As `makeDirectory`, at once. */
export function makeDirectoryNow(path: string): void {
  const first = mkdirSync(path, { recursive: true });
  if (first === undefined) return;
  for (const parent of parentsOf(path, first)) {
    const handle = openSync(parent, constants.O_RDONLY);
    fsyncSync(handle);
    closeSync(handle);
  }
}

/** The directories that hold the names of `path` and of those above it down from `first`; the lowest first. */
function parentsOf(path: string, first: string): string[] {
  const top = dirname(resolve(first));
  const parents: string[] = [];
  for (let at = dirname(resolve(path)); at.length >= top.length; at = dirname(at)) {
    parents.push(at);
    if (at === top) break;
  }
  return parents;
}
