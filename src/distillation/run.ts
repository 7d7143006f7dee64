import type { Collected } from './collect.js';
import type { RunContext } from './context.js';
import { runControls, type ControlsOutcome } from './controls.js';
import { evaluateTeacher, type Bench } from './evaluation.js';
import { differences, summarise, type EvaluationRecord } from './evaluation-record.js';
import { exportStage, type ExportState } from './export.js';
import { validate, type Ground } from './ground.js';
import type { RunReport, StageAccount } from './report.js';
import { addCosts, writeState } from './run-state.js';
import { alignStage, benchOf, collectHeldOut, collectTraining, distillStage, evaluateStage, planTraining, runStage, type TrainingPlan } from './stages.js';

export type { RunContext } from './context.js';

/** What the stages made, before it is put into the report. */
interface Made {
  readonly collected: Collected;
  readonly heldOut: Collected;
  readonly bench: Bench;
  readonly training: TrainingPlan;
  readonly evaluation: Omit<RunReport['evaluation'], 'controls'>;
  readonly before: EvaluationRecord;
  readonly afterDistill: EvaluationRecord;
  readonly afterAlign: EvaluationRecord;
  readonly distillAccount: StageAccount;
  readonly alignAccount: StageAccount;
  readonly exported: ExportState;
}

/**
 * Runs a distillation from its checks to its exported student, going on from whatever the store holds of it: what is committed is never done
 * or asked for again, and a resumed run ends with the same bits.
 * @throws AppError; `Aborted` when `signal` fires, after a checkpoint of what was finished. Refusals of the checks leave the store untouched.
 */
export async function runDistillation(context: RunContext, signal?: AbortSignal): Promise<RunReport> {
  const ground = await runStage(context, { stage: 'validate', label: 'validate' }, () => validate(context, signal));
  const made = await distilStudent(ground, signal).finally(() => ground.engine.close());
  const controls = context.controls === 'all' ? await runControls(ground, made, signal) : undefined;
  const report = reportOf(ground, made, controls);
  await writeState(context.store, 'report.json', report);
  return report;
}

/** The straight line from the teacher's first word to the exported student. */
async function distilStudent(ground: Ground, signal?: AbortSignal): Promise<Made> {
  const collected = await collectTraining(ground, signal);
  const heldOut = await collectHeldOut(ground, signal);
  const bench = benchOf(ground, heldOut.samples);
  const training = planTraining(ground, collected);
  const before = await evaluateStage(ground, { bench, label: 'before' }, signal);
  const distillAccount = await distillStage(ground, training, signal);
  const afterDistill = await evaluateStage(ground, { bench, label: 'after_distill' }, signal);
  const alignAccount = await alignStage(ground, signal);
  const afterAlign = await evaluateStage(ground, { bench, label: 'after_align' }, signal);
  const evaluation = {
    teacher: summarise(evaluateTeacher(bench), ground.seed),
    before: summarise(before, ground.seed),
    after_distill: summarise(afterDistill, ground.seed),
    after_align: summarise(afterAlign, ground.seed),
  };
  const exported = await exportStage(ground, evaluation);
  return { collected, heldOut, bench, training, evaluation, before, afterDistill, afterAlign, distillAccount, alignAccount, exported };
}

function reportOf({ seed, store }: Ground, made: Made, controls: ControlsOutcome | undefined): RunReport {
  const { collected, heldOut, training, evaluation, before, afterDistill, afterAlign, exported } = made;
  const distilled = differences({ before, after: afterDistill }, seed);
  const aligned = differences({ before: afterDistill, after: afterAlign }, seed);
  return {
    evaluation: { ...evaluation, ...(controls && { controls: { unigram: controls.unigram, hard: controls.hard } }) },
    differences: {
      distill_forward_kl: distilled.forwardKl,
      distill_reverse_kl: distilled.reverseKl,
      align_forward_kl: aligned.forwardKl,
      align_reverse_kl: aligned.reverseKl,
    },
    stages: {
      collect: collected.account,
      distill: made.distillAccount,
      align: made.alignAccount,
      evaluate: [before, afterDistill, afterAlign].reduce((sum, { account }) => addCosts(sum, account), heldOut.account),
      export: exported.account,
    },
    samples: {
      asked: collected.asked,
      kept: training.samples.length,
      empty: collected.empty,
      truncated: collected.samples.filter(({ finish }) => finish === 'length').length,
      truncated_dropped: training.truncatedDropped,
    },
    ...(controls && { hard_learning_rate: controls.hardLearningRate }),
    student_dir: store.path('student'),
    student_sha256: exported.sha256,
    ...(exported.onnx && { onnx_agreement: exported.onnx }),
  };
}
