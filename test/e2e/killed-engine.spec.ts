import type { ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify as toYaml } from 'yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunEvent } from '../../src/distillation/events.js';
import type { RunReport } from '../../src/distillation/report.js';
import { pruneModel } from '../../src/model-files/prune.js';
import type { TeacherServer } from '../../src/teacher-server/start-teacher-server.js';
import { engineChildren, runLimbeck, type Finished } from '../support/limbeck-process.js';
import { startTestTeacher } from '../support/teacher.js';
import { writeTinyModel } from '../support/tiny-model.js';

/** Steps at whose end the engine is killed: inside the next step, while a checkpoint is being written (every second step), and further on. */
const KILLS = [
  ['distill', 3],
  ['distill', 4],
  ['distill', 5],
  ['align', 3],
  ['align', 4],
  ['align', 5],
] as const;

let dir: string;
let teacher: TeacherServer;
let undisturbed: RunReport;
let undisturbedAsks: Asks;
/** What an attempt's checks ask before any work. */
let checkAsks: Asks;

interface Asks {
  readonly generated: number;
  readonly scored: number;
}

async function asks(): Promise<Asks> {
  const text = await (await fetch(`${teacher.url}/metrics`)).text();
  const value = (name: string): number => Number(new RegExp(`^limbeck_teacher_${name}_total (\\d+)$`, 'm').exec(text)?.[1]);
  return { generated: value('sequences_generated_asked'), scored: value('sequences_scored_asked') };
}

const minus = (a: Asks, b: Asks): Asks => ({ generated: a.generated - b.generated, scored: a.scored - b.scored });
const plus = (a: Asks, b: Asks): Asks => ({ generated: a.generated + b.generated, scored: a.scored + b.scored });

function job(): object {
  return {
    model: './student',
    training_file: './train.jsonl',
    validation_file: './heldout.jsonl',
    seed: 11,
    method: {
      type: 'distillation',
      distillation: {
        teacher: { dialect: 'vllm', base_url: teacher.url, model: 'tiny-teacher' },
        targets: { top_k: 16 },
        collect: { max_tokens: 12 },
        distill: { epochs: 3, loss_tokens_per_step: 60, learning_rate: 1e-3 },
        align: { steps: 7, prompts_per_step: 4, max_tokens: 10, learning_rate: 2e-4 },
        evaluate: { prompts: 4, rollouts_per_prompt: 2, max_tokens: 10 },
        checkpoint_every: { steps: 2 },
        export: ['safetensors'],
      },
    },
  };
}

const promptFile = (count: number, first: number): string =>
  Array.from({ length: count }, (_, index) => `${JSON.stringify({ messages: [{ role: 'user', content: `Say number ${first + index}.` }] })}\n`).join('');

const distill = (out: string, extra: readonly string[] = [], onEvent?: Parameters<typeof runLimbeck>[1]): Promise<Finished> =>
  runLimbeck(['distill', join(dir, 'job.yaml'), '--out', join(dir, out), ...extra], onEvent);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'limbeck-killed-'));
  const teacherDir = await writeTinyModel(join(dir, 'teacher'), { layers: 3, seed: 5 });
  await pruneModel(teacherDir, join(dir, 'student'), [0, 2]);
  teacher = await startTestTeacher({ modelDir: teacherDir, modelName: 'tiny-teacher' });
  await writeFile(join(dir, 'train.jsonl'), promptFile(20, 0));
  await writeFile(join(dir, 'heldout.jsonl'), promptFile(4, 100));
  await writeFile(join(dir, 'job.yaml'), toYaml(job()));
  const finished = await distill('undisturbed');
  if (!finished.report) throw new Error(`the undisturbed run failed:\n${finished.stderr}`);
  undisturbed = finished.report;
  undisturbedAsks = await asks();
  checkAsks = await probeCost(undisturbedAsks);
});

afterAll(async () => {
  await teacher.close();
  await rm(dir, { recursive: true, force: true });
});

/** A second look at a finished run asks the teacher only what the checks ask. */
async function probeCost(before: Asks): Promise<Asks> {
  const again = await distill('undisturbed', ['--resume']);
  expect(again.report?.student_sha256).toBe(undisturbed.student_sha256);
  return minus(await asks(), before);
}

describe('limbeck distill whose engine is killed', () => {
  it.each(KILLS)('in %s after step %i goes on from its last checkpoint to the same weights, asking for nothing twice', async (stage, step) => {
    const out = `${stage}-${step}`;
    const before = await asks();
    const killed = await distill(out, [], (event, child) => {
      if (isStep(event, stage, step)) void killEngines(child);
    });
    expect(killed.status).toBe(5);
    expect(killed.stderr).toContain('engine.failed');
    const checkpoint = await lastCheckpoint(join(dir, out), stage);
    const resumed = await distill(out, ['--resume']);

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
