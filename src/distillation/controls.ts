import { planSteps } from './plan.js';
import type { Collected } from './collect.js';
import { optimStep, usableSamples } from './distill-loop.js';
import { NoSamples } from './distillation.errors.js';
import { evaluateStudent, type Bench } from './evaluation.js';
import { evaluationRecordSchema, summarise, type EvaluationRecord } from './evaluation-record.js';
import { rateOf } from './events.js';
import type { Ground } from './ground.js';
import type { Evaluation } from './report.js';
import { readState, writeState } from './run-state.js';
import { learningRateAt } from './schedules.js';
import { runStage, type TrainingPlan } from './stages.js';
import { trainStep } from './train-step.js';
import { evaluateUnigram, Unigram } from './unigram.js';

/** The `hard` control takes the best of the distill rate times these: the same three-point sweep that chose the rate. */
const RATE_FACTORS = [1 / 3, 1, 3];

/** How the controls did. */
export interface ControlsOutcome {
  readonly unigram: Evaluation;
  readonly hard: Evaluation;
  readonly hardLearningRate: number;
}

interface ControlsJob {
  readonly bench: Bench;
  readonly collected: Collected;
  readonly training: TrainingPlan;
}

/** What the distilled student has to beat: a unigram model of the teacher's text, and training on that text by hard labels with as many loss tokens. */
export async function runControls(ground: Ground, job: ControlsJob, signal?: AbortSignal): Promise<ControlsOutcome> {
  return runStage(ground, { stage: 'controls', label: 'controls' }, async () => {
    const unigram = await once(ground, 'controls/unigram.json', () => {
      const model = new Unigram(job.collected.samples.map(({ completion_T }) => completion_T), ground.config.vocabSize);
      return evaluateUnigram(model, job.bench, signal);
    });
    const hard: { rate: number; evaluation: Evaluation }[] = [];
    for (const [index, factor] of RATE_FACTORS.entries()) {
      const rate = ground.plan.distill.learning_rate * factor;
      const record = await once(ground, `controls/hard-${index}.json`, () => trainHard(ground, { ...job, rate }, signal));
      hard.push({ rate, evaluation: summarise(record, ground.seed) });
    }
    const best = hard.reduce((a, b) => (b.evaluation.forward_kl_teacher_text < a.evaluation.forward_kl_teacher_text ? b : a));
    return { unigram: summarise(unigram, ground.seed), hard: best.evaluation, hardLearningRate: best.rate };
  });
}

async function once({ store }: Ground, file: string, measure: () => Promise<EvaluationRecord>): Promise<EvaluationRecord> {
  const stored = await readState(store, file, evaluationRecordSchema);
  if (stored) return stored;
  const record = await measure();
  await writeState(store, file, record);
  return record;
}

/** Trains the starting student in an engine of its own by cross-entropy on the teacher's ids, and measures it. */
async function trainHard(ground: Ground, { bench, collected, training, rate }: ControlsJob & { rate: number }, signal?: AbortSignal): Promise<EvaluationRecord> {
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
        { samples: chosen, lossTokens: planned.lossTokens, loss: { kind: 'hard' }, optim: optimStep(plan.optimizer, learningRate), microBatchTokens: plan.micro_batch_tokens },
        signal,
      );
      onEvent({ kind: 'progress', stage: 'controls', label, done: index + 1, total: steps.length, unit: 'steps', rate: rateOf(index + 1, (clock() - began) / 1000) });
    }
    return (await evaluateStudent(engine, { bench, label }, signal)).record;
  } finally {
    await engine.close();
  }
}
