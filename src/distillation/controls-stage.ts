import type { Collected } from './collect.js';
import { recallTraining } from './collect-stage.js';
import { optimStep, usableSamples } from './distill-loop.js';
import { NoSamples, StageMissing } from './distillation.errors.js';
import { benchOf } from './evaluate-stage.js';
import { evaluateStudent, type Bench } from './evaluation.js';
import { evaluationRecordSchema, summarise, type EvaluationRecord } from './evaluation-record.js';
import { rateOf } from './events.js';
import type { Ground } from './ground.js';
import { lazily } from './lazily.js';
import { planSteps } from './plan.js';
import type { Evaluation, StageAccount } from './report.js';
import { addCosts, NO_COST, readState, writeState } from './run-state.js';
import { learningRateAt } from './schedules.js';
import { runStage } from './stage-events.js';
import { trainStep } from './train-step.js';
import { planTraining, type TrainingPlan } from './training-plan.js';
import { evaluateUnigram, Unigram } from './unigram.js';

/** The `hard` control takes the best of the distill rate times these: the same three-point sweep that chose the rate. */
const RATE_FACTORS = [1 / 3, 1, 3];
const UNIGRAM_FILE = 'controls/unigram.json';

/** How the controls did. */
export interface ControlsOutcome {
  readonly unigram: Evaluation;
  readonly hard: Evaluation;
  readonly hardLearningRate: number;
}

/** What the controls are trained and measured on. */
interface ControlsKit {
  readonly bench: Bench;
  readonly collected: Collected;
  readonly training: TrainingPlan;
}

/**
 * The stage `controls`: what the distilled student has to beat, a unigram model of the teacher's text, and training on that text by hard labels with as
 * many loss tokens. Each trial is committed on its own.
 */
export async function controlsStage(ground: Ground, signal?: AbortSignal): Promise<StageAccount> {
  await ground.student.close(); // each trial opens an engine of its own, and memory is foreseen for one
  const kit = lazily(async (): Promise<ControlsKit> => {
    const collected = await recallTraining(ground);
    return { bench: await benchOf(ground, signal), collected, training: planTraining(ground, collected) };
  });
  return runStage(ground, { stage: 'controls', label: 'controls' }, async () => {
    const records = [await once(ground, UNIGRAM_FILE, async () => measureUnigram(ground, await kit(), signal))];
    for (const [index, rate] of ratesOf(ground).entries()) records.push(await once(ground, hardFile(index), async () => trainHard(ground, { ...(await kit()), rate }, signal)));
    return records.reduce((sum, { account }) => addCosts(sum, account), NO_COST);
  });
}

/** How the controls did. @throws StageMissing when one was not measured. */
export async function readControls(ground: Ground): Promise<ControlsOutcome> {
  const unigram = await readRecord(ground, UNIGRAM_FILE);
  const hard: { rate: number; evaluation: Evaluation }[] = [];
  for (const [index, rate] of ratesOf(ground).entries()) hard.push({ rate, evaluation: summarise(await readRecord(ground, hardFile(index)), ground.seed) });
  const best = hard.reduce((a, b) => (b.evaluation.forward_kl_teacher_text < a.evaluation.forward_kl_teacher_text ? b : a));
  return { unigram: summarise(unigram, ground.seed), hard: best.evaluation, hardLearningRate: best.rate };
}

function ratesOf({ plan }: Ground): number[] {
  return RATE_FACTORS.map((factor) => plan.distill.learning_rate * factor);
}

function hardFile(index: number): string {
  return `controls/hard-${index}.json`;
}

async function readRecord({ store }: Ground, file: string): Promise<EvaluationRecord> {
  const record = await readState(store, file, evaluationRecordSchema);
  if (!record) throw new StageMissing(`${file} is not there: the stage controls comes first`);
  return record;
}

async function once({ store }: Ground, file: string, measure: () => Promise<EvaluationRecord>): Promise<EvaluationRecord> {
  const stored = await readState(store, file, evaluationRecordSchema);
  if (stored) return stored;
  const record = await measure();
  await writeState(store, file, record);
  return record;
}

function measureUnigram({ config }: Ground, { bench, collected }: ControlsKit, signal?: AbortSignal): Promise<EvaluationRecord> {
  return evaluateUnigram(new Unigram(collected.samples.map(({ completion_T }) => completion_T), config.vocabSize), bench, signal);
}

/** Trains the starting student in an engine of its own by cross-entropy on the teacher's ids, and measures it. */
async function trainHard(ground: Ground, { bench, collected, training, rate }: ControlsKit & { rate: number }, signal?: AbortSignal): Promise<EvaluationRecord> {
  const { plan, seed, clock, onEvent } = ground;
  const { usable: samples } = usableSamples(collected.samples, { kind: 'hard' });
  if (samples.length === 0) throw new NoSamples('every answer of the teacher was cut off by collect.max_tokens, so the control hard has nothing to learn from; raise it, or leave the controls out');
  const budget = training.steps.reduce((sum, { lossTokens }) => sum + lossTokens, 0);
  const steps = planSteps({ lossTokens_I: samples.map(({ completion_T }) => completion_T.length), budget, perStep: plan.distill.loss_tokens_per_step, seed });
  const engine = await ground.openEngine(ground.modelDir);
  const began = clock();
  const label = `hard at ${rate.toPrecision(2)}`;
  try {
    for (const [index, planned] of steps.entries()) {
      const learningRate = learningRateAt(index + 1, { peak: rate, steps: steps.length, ...plan.optimizer });
      const chosen = planned.samples.map((sample) => samples[sample]);
      await trainStep(
        engine,
        {
          samples: chosen, lossTokens: planned.lossTokens, loss: { kind: 'hard' }, optim: optimStep(plan.optimizer, learningRate),
          microBatchTokens: plan.micro_batch_tokens, recompute: plan.recompute,
        },
        signal,
      );
      onEvent({ kind: 'progress', stage: 'controls', label, done: index + 1, total: steps.length, unit: 'steps', rate: rateOf(index + 1, (clock() - began) / 1000) });
    }
    return (await evaluateStudent(engine, { bench, label }, signal)).record;
  } finally {
    await engine.close();
  }
}
