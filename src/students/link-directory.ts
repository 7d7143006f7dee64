import { constants, type Dirent } from 'node:fs';
import { copyFile, link, mkdir, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncPath } from '../common/durable.js';
import { NameRefused } from '../storage/storage.errors.js';

/** Errors of a file system that has no second names for a file. */
const NO_LINKS = new Set(['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP']);

/**
 * Makes `target` hold the same files as `from`: second names of the same bytes, or copies where the file system has no such names. Durable on
 * return. Files whose name begins with a dot are left out. @throws NameRefused for anything but files and directories.
 */
export async function linkDirectory(from: string, target: string): Promise<void> {
  await mkdir(target, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (!entry.name.startsWith('.')) await linkEntry(entry, from, target);
  }
  await syncPath(target);
  await syncPath(dirname(target));
}

async function linkEntry(entry: Dirent, from: string, target: string): Promise<void> {
  const [source, goal] = [join(from, entry.name), join(target, entry.name)];
  if (entry.isDirectory()) return linkDirectory(source, goal);
  if (!entry.isFile()) throw new NameRefused(`${JSON.stringify(entry.name)} is neither a file nor a directory; a model holds nothing else`);
  try {
    await syncPath(source);
    await link(source, goal);
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && typeof cause.code === 'string' && NO_LINKS.has(cause.code))) throw cause;
    await copyFile(source, goal, constants.COPYFILE_FICLONE);
    await syncPath(goal);
  }
}
