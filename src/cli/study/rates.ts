import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { stringify as toYaml } from 'yaml';
import type { Evaluation, RunReport } from '../../distillation/report.js';
import { readModelConfig } from '../../model-files/config.js';
import { pruneModel } from '../../model-files/prune.js';
import { demoJob, keptLayers, TEACHER_NAME, type DemoRates } from '../demo/job-file.js';
import { demoPrompts, promptLines } from '../demo/prompts.js';
import { runJob } from '../job.js';
import { humanProgress } from '../progress.js';
import { markdown } from '../result-table.js';
import { stopOnSignal } from '../stop.js';
import { startTeacherProcess } from '../teacher-process.js';

const DISTILL_RATES = [3e-4, 1e-3, 3e-3];
const ALIGN_RATES = [6e-5, 2e-4, 6e-4];

/** Runs the demo's job at three rates of each stage, the other at its middle, and shows what the held-out prompts say after it. */
export async function studyRates({ teacher, out }: { readonly teacher: string; readonly out: string }): Promise<string> {
  const { train, heldOut } = demoPrompts();
  await mkdir(out, { recursive: true });
  await writeFile(join(out, 'train.jsonl'), promptLines(train));
  await writeFile(join(out, 'heldout.jsonl'), promptLines(heldOut));
  await pruneModel(teacher, join(out, 'start'), keptLayers((await readModelConfig(teacher)).layers));
  const signal = stopOnSignal('stops at the next step');
  const server = await startTeacherProcess({ modelDir: resolve(teacher), modelName: TEACHER_NAME, port: 0 });
  const rows: string[][] = [];
  try {
    for (const distill of DISTILL_RATES) {
      const { evaluation } = await runWith({ out, url: server.url, rates: { distill, align: ALIGN_RATES[1], alignSteps: 0 } }, signal);
      rows.push(row('distill', distill, evaluation.after_distill));
    }
    for (const align of ALIGN_RATES) {
      const { evaluation } = await runWith({ out, url: server.url, rates: { distill: DISTILL_RATES[1], align } }, signal);
      rows.push(row('align', align, evaluation.after_align));
    }
  } finally {
    await server.stop();
  }
  return markdown([['stage', 'learning rate', 'forward KL', 'reverse KL', 'cut off', 'looping'], ...rows]);
}

async function runWith({ out, url, rates }: { readonly out: string; readonly url: string; readonly rates: DemoRates }, signal: AbortSignal): Promise<RunReport> {
  const name = `distill-${rates.distill}-align-${rates.alignSteps === 0 ? 'none' : rates.align}`;
  const jobFile = join(out, `${name}.yaml`);
  await writeFile(jobFile, toYaml(demoJob(url, rates)));
  return runJob({ jobFile, outDir: join(out, name), resume: 'fresh', controls: 'none', view: humanProgress(), signal });
}

function row(stage: string, rate: number, e: Evaluation): string[] {
  const share = (value: number): string => `${(100 * value).toFixed(0)} %`;
  return [stage, rate.toExponential(0), e.forward_kl_teacher_text.toFixed(3), e.reverse_kl_own_rollouts.toFixed(3), share(e.truncated_share), share(e.loop_share)];
}
