import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { RunEvent } from '../../src/distillation/events.js';
import type { RunReport } from '../../src/distillation/report.js';
import { compiled } from './compiled.js';

/** What a finished command left: its status, every event it told, the report if it came to one, and its words on standard error. */
export interface Finished {
  readonly status: number | null;
  readonly events: readonly RunEvent[];
  readonly report: RunReport | undefined;
  readonly stderr: string;
}

/** What is done with a command while it runs. */
export interface RunOptions {
  readonly onEvent?: (event: RunEvent, child: ChildProcess) => void;
  /** Variables beside those of this process. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** Runs the compiled command line with `--json` and hands each event to `onEvent` as it comes. */
export async function runLimbeck(args: readonly string[], { onEvent, environment }: RunOptions = {}): Promise<Finished> {
  const env = { ...process.env, ...environment };
  const child = spawn(process.execPath, [await compiled('src/main.cli.ts'), ...args, '--json'], { stdio: ['ignore', 'pipe', 'pipe'], env });
  const events: RunEvent[] = [];
  let report: RunReport | undefined;
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString('utf8')));
  createInterface(child.stdout).on('line', (line) => {
    const event = JSON.parse(line) as RunEvent | { readonly kind: 'report'; readonly report: RunReport };
    if (event.kind === 'report') {
      report = event.report;
      return;
    }
    events.push(event);
    onEvent?.(event, child);
  });
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { status, events, report, stderr };
}

/** Whether a process runs, frozen or not; one that ended and was not waited for does not. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(join('/proc', String(pid), 'stat'), 'utf8');
    return stat[stat.lastIndexOf(')') + 2] !== 'Z';
  } catch {
    return false;
  }
}

/** Process ids of the engines that a process started. */
export async function engineChildren(parent: number): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(pids.map(async (pid) => ((await isEngineOf(pid, parent)) ? pid : undefined)));
  return found.filter((pid) => pid !== undefined);
}

async function isEngineOf(pid: number, parent: number): Promise<boolean> {
  try {
    const stat = await readFile(join('/proc', String(pid), 'stat'), 'utf8');
    const parentPid = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    return parentPid === parent && (await readFile(join('/proc', String(pid), 'cmdline'), 'utf8')).includes('main.engine.js');
  } catch {
    return false; // it ended while we looked
  }
}
