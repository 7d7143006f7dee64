import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const PROC = '/proc';

/** Resident memory of a process, KiB. */
export async function rssKib(pid: number): Promise<number> {
  const status = await readFile(join(PROC, String(pid), 'status'), 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
}

/** Open files, sockets and the like of a process. */
export async function openHandles(pid: number): Promise<number> {
  return (await readdir(join(PROC, String(pid), 'fd'))).length;
}

/** How many processes of this machine have `words` in their command line. */
export async function processesOf(words: string): Promise<number> {
  const pids = (await readdir(PROC)).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map((pid) => readFile(join(PROC, pid, 'cmdline'), 'utf8').catch(() => ''))); // it may end while we look
  return lines.filter((line) => line.includes(words)).length;
}

/** What a value grows by from one place to the next: the slope of the line with the least squares. At least two values. */
export function slopeOf(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const [above, below] = values.reduce(([a, b], value, place) => [a + (place - middle) * (value - mean), b + (place - middle) ** 2], [0, 0]);
  return above / below;
}
