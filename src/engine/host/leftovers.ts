import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const LOOK_MS = 20;

/** An engine process of this machine, as its command line tells of it. */
interface FoundEngine {
  readonly pid: number;
  readonly device: string;
  /** Whether the process that started it is gone. */
  readonly isOrphan: boolean;
}

/** What an engine's command line says behind its entry, so that a later worker can tell whose it was. */
export function engineArguments(device: string | undefined): string[] {
  return device === undefined ? [] : [`--device=${device}`, `--host=${process.pid}`];
}

/** Whether an engine of a living worker has the device. */
export function isDeviceTaken(device: string): boolean {
  return engines().some((engine) => engine.device === device && !engine.isOrphan);
}

/**
 * Kills engines of a device whose worker is gone. They end by themselves when their worker does, but one that is frozen, or deep in a kernel, may still have the device and its
 * memory. Returns once they are gone. @returns their process ids.
 */
export async function reapLeftovers(device: string): Promise<number[]> {
  const leftovers = engines().filter((engine) => engine.device === device && engine.isOrphan);
  for (const { pid } of leftovers) kill(pid);
  while (leftovers.some(({ pid }) => engineOf(pid))) await delay(LOOK_MS);
  return leftovers.map(({ pid }) => pid);
}

function engines(): FoundEngine[] {
  return readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? (engineOf(Number(name)) ?? []) : []));
}

/** @returns undefined for a process that is no engine, or that has ended, waited for or not. */
function engineOf(pid: number): FoundEngine | undefined {
  try {
    const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    const [device, host] = ['--device=', '--host='].map((flag) => args.find((arg) => arg.startsWith(flag))?.slice(flag.length));
    if (device === undefined || host === undefined || !args.some((arg) => arg.includes('main.engine'))) return undefined;
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8'); // "pid (name) state ppid …", and a name may hold anything
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' ? undefined : { pid, device, isOrphan: parent !== host };
  } catch {
    return undefined; // ended while it was looked at
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
