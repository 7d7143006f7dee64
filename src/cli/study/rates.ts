import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { stringify as toYaml } from 'yaml';
import type { Bench } from '../../distillation/evaluation.js';
import type { RunContext } from '../../distillation/context.js';
import { summarise } from '../../distillation/evaluation-record.js';
import { collectHeldOut, collectTraining } from '../../distillation/collect-stage.js';
import { benchOf, measure } from '../../distillation/evaluate-stage.js';
import type { Ground } from '../../distillation/ground.js';
import { StudentEngine } from '../../distillation/student-engine.js';
import { planTraining } from '../../distillation/training-plan.js';
import { trainAlign, trainDistill } from '../../distillation/training-stages.js';
import { validate } from '../../distillation/validate-stage.js';
import { readModelConfig } from '../../model-files/config.js';
import { pruneModel } from '../../model-files/prune.js';
import { DirectoryStore } from '../../storage/directory-store.js';
import { demoJob, keptLayers, TEACHER_NAME } from '../demo/job-file.js';
import { demoPrompts, promptLines } from '../demo/prompts.js';
import { openJob } from '../job.js';
import { humanProgress } from '../progress.js';
import { markdown } from '../result-table.js';
import { startTeacherProcess } from '../teacher-process.js';

/** Factors on the demo's own rates. */
const FACTORS = [1 / 3, 1, 3];

interface Rate {
  readonly stage: 'distill' | 'align';
  readonly rate: number;
}

/** Trains the demo's student at three rates of each stage, `align` from where the middle rate of `distill` ended, all on the same collected text, and shows what the held-out prompts say. */
export async function studyRates({ teacher, out }: { readonly teacher: string; readonly out: string }): Promise<string> {
  const jobFile = await writeInputs(teacher, out);
  const server = await startTeacherProcess({ modelDir: resolve(teacher), modelName: TEACHER_NAME, port: 0 });
  try {
    await writeFile(jobFile, toYaml(demoJob(server.url)));
    const job = await openJob({ jobFile, outDir: join(out, 'run'), resume: 'fresh', controls: 'as_specified', view: humanProgress() });
    try {
      return markdown([['stage', 'learning rate', 'forward KL', 'reverse KL', 'cut off', 'looping'], ...(await sweep(job.context, out))]);
    } finally {
      await job.close();
    }
  } finally {
    await server.stop();
  }
}

async function writeInputs(teacher: string, out: string): Promise<string> {
  const { train, heldOut } = demoPrompts();
  await mkdir(out, { recursive: true });
  await writeFile(join(out, 'train.jsonl'), promptLines(train));
  await writeFile(join(out, 'heldout.jsonl'), promptLines(heldOut));
  await pruneModel(teacher, join(out, 'start'), keptLayers((await readModelConfig(teacher)).layers));
  return join(out, 'job.yaml');
}

async function sweep(context: RunContext, out: string): Promise<string[][]> {
  const student = new StudentEngine(() => context.openEngine(context.modelDir));
  const { ground } = await validate(context, student).finally(() => student.close());
  const training = planTraining(ground, await collectTraining(ground));
  await collectHeldOut(ground);
  const bench = await benchOf(ground);
  const rows: string[][] = [];
  for (const factor of FACTORS) {
    const rate: Rate = { stage: 'distill', rate: ground.plan.distill.learning_rate * factor };
    rows.push(await measured(ground, { rate, bench, out, train: (own) => trainDistill(own, async () => training), keep: factor === 1 }));
  }
  for (const factor of FACTORS) {
    const rate: Rate = { stage: 'align', rate: ground.plan.align.learning_rate * factor };
    const distilled = { name: 'distilled', dir: join(out, 'distilled') };
    const train = (own: Ground): Promise<unknown> => trainAlign(own, () => own.student.load(distilled, training.steps.length));
    rows.push(await measured(ground, { rate, bench, out, train, keep: false }));
  }
  return rows;
}

interface Trial {
  readonly rate: Rate;
  readonly bench: Bench;
  readonly out: string;
  readonly train: (ground: Ground) => Promise<unknown>;
  /** Whether the trained weights are kept for the trials of `align`. */
  readonly keep: boolean;
}

/** One trial in an engine and a store of its own. */
async function measured(ground: Ground, { rate, bench, out, train, keep }: Trial): Promise<string[]> {
  const student = new StudentEngine(() => ground.openEngine(ground.modelDir));
  try {
    const plan = { ...ground.plan, [rate.stage]: { ...ground.plan[rate.stage], learning_rate: rate.rate } };
    const own = { ...ground, student, plan, store: new DirectoryStore(resolve(out, `${rate.stage}-${rate.rate.toExponential(1)}`)) };
    await train(own);
    const engine = await student.current();
    if (keep) await engine.save(join(out, 'distilled'));
    const e = summarise(await measure(own, { bench, label: `after_${rate.stage}`, engine }), ground.seed);
    const share = (value: number): string => `${(100 * value).toFixed(0)} %`;
    const nats = (value: number, low: number, high: number): string => `${value.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
    return [
      rate.stage,
      rate.rate.toExponential(1),
      nats(e.forward_kl_teacher_text, e.forward_kl_teacher_text_low, e.forward_kl_teacher_text_high),
      nats(e.reverse_kl_own_rollouts, e.reverse_kl_own_rollouts_low, e.reverse_kl_own_rollouts_high),
      share(e.truncated_share),
      share(e.loop_share),
    ];
  } finally {
    await student.close();
  }
}
