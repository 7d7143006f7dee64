import type { ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunEvent } from '../../src/distillation/events.js';
import type { RunReport } from '../../src/distillation/report.js';
import { engineChildren } from '../support/limbeck-process.js';
import { layTinyJob, type TinyJob } from '../support/tiny-job.js';

/** Steps at whose end the engine is killed: inside the next step, while a checkpoint is being written (every second step), and further on. */
const KILLS = [
  ['distill', 3],
  ['distill', 4],
  ['distill', 5],
  ['align', 3],
  ['align', 4],
  ['align', 5],
] as const;

let tiny: TinyJob;
let undisturbed: RunReport;
let undisturbedAsks: Asks;
/** What an attempt's checks ask before any work. */
let checkAsks: Asks;

interface Asks {
  readonly generated: number;
  readonly scored: number;
}

async function asks(): Promise<Asks> {
  const text = await (await fetch(`${tiny.teacherUrl}/metrics`)).text();
  const value = (name: string): number => Number(new RegExp(`^limbeck_teacher_${name}_total (\\d+)$`, 'm').exec(text)?.[1]);
  return { generated: value('sequences_generated_asked'), scored: value('sequences_scored_asked') };
}

const minus = (a: Asks, b: Asks): Asks => ({ generated: a.generated - b.generated, scored: a.scored - b.scored });
const plus = (a: Asks, b: Asks): Asks => ({ generated: a.generated + b.generated, scored: a.scored + b.scored });

beforeAll(async () => {
  tiny = await layTinyJob();
  const finished = await tiny.distill('undisturbed');
  if (!finished.report) throw new Error(`the undisturbed run failed:\n${finished.stderr}`);
  undisturbed = finished.report;
  undisturbedAsks = await asks();
  checkAsks = await probeCost(undisturbedAsks);
});

afterAll(() => tiny.close());

/** A second look at a finished run asks the teacher only what the checks ask. */
async function probeCost(before: Asks): Promise<Asks> {
  const again = await tiny.distill('undisturbed', ['--resume']);
  expect(again.report?.student_sha256).toBe(undisturbed.student_sha256);
  return minus(await asks(), before);
}

describe('limbeck distill whose engine is killed', () => {
  it.each(KILLS)('in %s after step %i goes on from its last checkpoint to the same weights, asking for nothing twice', async (stage, step) => {
    const out = `${stage}-${step}`;
    const before = await asks();
    const killed = await tiny.distill(out, [], {
      onEvent: (event, child) => {
        if (isStep(event, stage, step)) void killEngines(child);
      },
    });
    expect(killed.status).toBe(5);
    expect(killed.stderr).toContain('engine.failed');
    const checkpoint = await lastCheckpoint(join(tiny.dir, out), stage);
    const resumed = await tiny.distill(out, ['--resume']);

    expect(resumed.events).toContainEqual({ kind: 'resumed', stage, firstStep: checkpoint + 1 });
    expect(checkpoint).toBeGreaterThan(0);
    expect(resumed.report?.student_sha256).toBe(undisturbed.student_sha256);
    expect(minus(await asks(), before)).toEqual(plus(undisturbedAsks, checkAsks));
  });
});

const isStep = (event: RunEvent, stage: string, step: number): boolean => event.kind === 'step' && event.metrics.stage === stage && event.metrics.step === step;

/** The command stands still meanwhile, so that it gives its engine no further steps however long the search takes. */
async function killEngines(command: ChildProcess): Promise<void> {
  command.kill('SIGSTOP');
  for (const pid of await engineChildren(command.pid!)) process.kill(pid, 'SIGKILL');
  command.kill('SIGCONT');
}

async function lastCheckpoint(outDir: string, stage: string): Promise<number> {
  const state = JSON.parse(await readFile(join(outDir, `state/${stage}.json`), 'utf8')) as { readonly checkpoints: readonly { readonly step: number }[] };
  return state.checkpoints[0].step;
}
