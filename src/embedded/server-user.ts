import { chownSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram, type ServerUser } from './run-program.js';

const NOBODY: ServerUser = { uid: 65_534, gid: 65_534 };
const CHECK_MS = 10_000;

/** Postgres refuses to run as root, so root runs it as `nobody`; everybody else runs it as themselves (undefined). */
export function serverUser(): ServerUser | undefined {
  return process.getuid?.() === 0 ? NOBODY : undefined;
}

/** Whether the user can write to (`-w`) or execute or enter (`-x`) the path, asked as that user. */
export async function canReach(user: ServerUser | undefined, how: '-w' | '-x', path: string): Promise<boolean> {
  return (await runProgram({ path: '/usr/bin/test', args: [how, path], user, timeoutMs: CHECK_MS })).status === 0;
}

/** Gives a directory, and whatever it holds, to the user. */
export function giveTo(user: ServerUser | undefined, dir: string): void {
  if (!user) return;
  chownSync(dir, user.uid, user.gid);
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) giveTo(user, join(dir, entry.name));
    else if (!entry.isSymbolicLink()) chownSync(join(dir, entry.name), user.uid, user.gid);
  }
}
