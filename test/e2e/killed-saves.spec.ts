import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunReport } from '../../src/distillation/report.js';
import { BoundaryKill, saveBoundaries } from '../support/kill-at-boundary/boundaries.js';
import { layTinyJob, type TinyJob } from '../support/tiny-job.js';

let tiny: TinyJob;
let undisturbed: RunReport;

beforeAll(async () => {
  const align = { steps: 6, prompts_per_step: 4, max_tokens: 10, learning_rate: 2e-4 };
  tiny = await layTinyJob({ distill: { epochs: 6, loss_tokens_per_step: 60, learning_rate: 1e-3 }, align, checkpoint_every: { steps: 1 } });
  const finished = await tiny.distill('undisturbed');
  if (!finished.report) throw new Error(`the undisturbed run failed:\n${finished.stderr}`);
  undisturbed = finished.report;
});
afterAll(() => tiny.close());

/** The last committed step of a stage; 0 before its first checkpoint. */
async function committed(stage: string): Promise<number> {
  const path = join(tiny.dir, 'killed', `state/${stage}.json`);
  if (!existsSync(path)) return 0;
  return (JSON.parse(await readFile(path, 'utf8')) as { readonly checkpoints: readonly { readonly step: number }[] }).checkpoints[0].step;
}

/** Steps in the order in which `metrics.jsonl` has them. */
async function stepsOf(out: string): Promise<string[]> {
  const lines = (await readFile(join(tiny.dir, out, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n');
  return lines.map((line) => {
    const { stage, step } = JSON.parse(line) as { readonly stage: string; readonly step: number };
    return `${stage} ${step}`;
  });
}

/** Of align two that differ most: the code of a save is the same in both stages. */
const BOUNDARIES = [
  ...saveBoundaries('distill').map((boundary) => ['distill', boundary] as const),
  ...saveBoundaries('align')
    .filter(({ name }) => name === 'before the rename' || name === 'before the state file')
    .map((boundary) => ['align', boundary] as const),
];

describe('limbeck distill killed at the boundaries of its saves', () => {
  it('goes on each time from its last checkpoint, and ends with the weights of the undisturbed run', async () => {
    let began = 0;
    for (const [stage, boundary] of BOUNDARIES) {
      const kill = new BoundaryKill(boundary, tiny.dir, 2); // the attempt's first save goes through
      const where = `${stage}, ${boundary.name}`;
      const { status, events } = await tiny.distill('killed', began++ === 0 ? [] : ['--resume'], { environment: kill.environment });

      expect([where, kill.hasStruck, status]).toEqual([where, true, boundary.dies === 'engine' ? 5 : null]);
      const saved = events.flatMap((event) => (event.kind === 'checkpoint' && event.stage === stage ? [event.step] : []));
      expect([where, await committed(stage)]).toEqual([where, boundary.name.startsWith('after the state') ? saved[0] + 1 : saved[0]]);
      const resumed = events.find((event) => event.kind === 'resumed' && event.stage === stage);
      expect([where, resumed?.kind === 'resumed' ? resumed.firstStep : 1]).toEqual([where, saved[0]]); // a save a step: the first is that of the step it began with
    }
    const last = await tiny.distill('killed', ['--resume']);

    expect(last.report?.student_sha256).toBe(undisturbed.student_sha256);
    expect(await stepsOf('killed')).toEqual(await stepsOf('undisturbed'));
    expect((await readdir(join(tiny.dir, 'killed'), { recursive: true })).filter((name) => name.includes('.partial'))).toEqual([]);
    for (const stage of ['distill', 'align']) expect(await readdir(join(tiny.dir, 'killed/checkpoints', stage))).toHaveLength(3);
  });
});
