import { readCollectState } from './collect-stage.js';
import { readControls } from './controls-stage.js';
import { StageMissing } from './distillation.errors.js';
import { readEvaluations, type EvaluationRecords } from './evaluate-stage.js';
import { differences } from './evaluation-record.js';
import { readExport, summariseAll } from './export-stage.js';
import type { Ground } from './ground.js';
import type { RunReport, StageAccount } from './report.js';
import { addCosts, NO_COST, writeState } from './run-state.js';
import type { TrainingStage } from './stage-order.js';
import { lastCheckpoint, readTraining } from './training-state.js';

/** Puts the report together from what the stages committed, and writes `report.json`. @throws StageMissing */
export async function writeReport(ground: Ground): Promise<RunReport> {
  const { store, seed, plan } = ground;
  const { accounts, ...samples } = await readCollectState(ground);
  const records = await readEvaluations(ground);
  const controls = plan.controls === 'all' ? await readControls(ground) : undefined;
  const exported = await readExport(ground);
  const report: RunReport = {
    evaluation: { ...summariseAll(records, seed), ...(controls && { controls: { unigram: controls.unigram, hard: controls.hard } }) },
    differences: differencesOf(records, seed),
    stages: {
      collect: accounts.training,
      distill: await costOf(ground, 'distill'),
      align: plan.align.steps === 0 ? NO_COST : await costOf(ground, 'align'),
      evaluate: [records.before, records.after_distill, records.after_align].reduce((sum, { account }) => addCosts(sum, account), accounts.held_out),
      export: exported.account,
    },
    samples,
    ...(controls && { hard_learning_rate: controls.hardLearningRate }),
    student_dir: store.path('student'),
    student_sha256: exported.sha256,
    ...(exported.onnx && { onnx_agreement: exported.onnx }),
  };
  await writeState(store, 'report.json', report);
  return report;
}

function differencesOf({ before, after_distill, after_align }: EvaluationRecords, seed: number): RunReport['differences'] {
  const distilled = differences({ before, after: after_distill }, seed);
  const aligned = differences({ before: after_distill, after: after_align }, seed);
  return {
    distill_forward_kl: distilled.forwardKl,
    distill_reverse_kl: distilled.reverseKl,
    align_forward_kl: aligned.forwardKl,
    align_reverse_kl: aligned.reverseKl,
  };
}

async function costOf({ store }: Ground, stage: TrainingStage): Promise<StageAccount> {
  const last = lastCheckpoint(await readTraining(store, stage));
  if (!last) throw new StageMissing(`the stage ${stage} is not finished; it comes first`);
  return last.account;
}
