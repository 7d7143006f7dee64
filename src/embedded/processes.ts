import { existsSync, readFileSync, readdirSync, readlinkSync, realpathSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { EmbeddedServerFailed } from './embedded.errors.js';

const LOOK_MS = 20;

/** The command line of a running process; undefined when there is none of that number. Tells a process from another that got its number later. */
export function commandLine(pid: number): string | undefined {
  try {
    const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    return line === '' ? undefined : line.split('\0').join(' ').trim();
  } catch {
    return undefined;
  }
}

/** Processes that work in a directory, of those whose directory this process may see. */
export function processesIn(dir: string): number[] {
  if (!existsSync(dir)) return [];
  const real = realpathSync(dir);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && workingDirectory(name) === real)
    .map(Number);
}

function workingDirectory(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined; // ended meanwhile, or another user's
  }
}

/** Sends SIGTERM, and SIGKILL to one that has not ended after `stopMs`; returns once it is gone. `runs` tells it from a later process of the same number. */
export async function endProcess(pid: number, runs: () => boolean, stopMs: number): Promise<void> {
  for (const name of ['SIGTERM', 'SIGKILL'] as const) {
    if (!runs()) return;
    signal(pid, name);
    if (await until(() => !runs(), stopMs)) return;
  }
  throw new EmbeddedServerFailed(`process ${pid} (${commandLine(pid) ?? 'gone'}) could not be ended`);
}

/** Looks again and again until `condition` holds. @returns whether it did within `limitMs`. */
export async function until(condition: () => boolean | Promise<boolean>, limitMs: number): Promise<boolean> {
  const end = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > end) return false;
    await delay(LOOK_MS);
  }
  return true;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error; // ended meanwhile
  }
}
