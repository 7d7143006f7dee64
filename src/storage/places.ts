import { constants } from 'node:fs';
import { lstat, open, realpath, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { NameRefused } from './storage.errors.js';

const PLACE = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;

/** Whether `name` is a relative place: parts of A-Z a-z 0-9 . _ - joined by /, none beginning with a dot. */
export function isPlace(name: string): boolean {
  return PLACE.test(name);
}

/** @returns where the place lies below `root`, without looking at the disk. @throws NameRefused */
export function placeIn(root: string, place: string): string {
  if (!isPlace(place)) throw new NameRefused(`${JSON.stringify(place)} is no place in the store; right are parts of A-Z a-z 0-9 . _ - joined by /, none beginning with a dot`);
  return join(root, place);
}

/**
 * Where a place really lies. Nothing on the way from `root` may be a link: places are made by Limbeck, so a link there is somebody else's.
 * @returns an absolute path, or undefined when nothing is there. @throws NameRefused
 */
export async function resolvePlace(root: string, place: string): Promise<string | undefined> {
  const path = placeIn(root, place);
  try {
    await lstat(path);
    const [realRoot, real] = await Promise.all([realpath(root), realpath(path)]);
    if (real !== join(realRoot, place)) throw new NameRefused(`${JSON.stringify(place)} is reached through a link; the store holds none`);
    return real;
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')) return undefined;
    throw cause;
  }
}

/** Opens a place for reading. @returns undefined when nothing is there. @throws NameRefused for links and anything but a plain file. */
export async function openPlace(root: string, place: string): Promise<FileHandle | undefined> {
  const path = await resolvePlace(root, place);
  if (path === undefined) return undefined;
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw new NameRefused(`${JSON.stringify(place)} is no plain file`);
}
