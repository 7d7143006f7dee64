import { align } from './align-loop.js';
import { collect, type Collected } from './collect.js';
import { distill, planDistill, usableSamples } from './distill-loop.js';
import { NoSamples } from './distillation.errors.js';
import { evaluateStudent, type Bench } from './evaluation.js';
import { evaluationRecordSchema, type EvaluationRecord } from './evaluation-record.js';
import { rateOf, type Stage } from './events.js';
import type { Ground } from './ground.js';
import { Journal } from './journal.js';
import { LoopDesk } from './loop-desk.js';
import type { PlannedStep } from './plan.js';
import { STREAMS } from './random.js';
import type { StageAccount } from './report.js';
import type { Rollout } from './rollouts.js';
import { readState, writeState } from './run-state.js';
import type { ShardSample } from './shards.js';

/** What a stage is called when it tells of itself. */
interface StageName {
  readonly stage: Stage;
  readonly label: string;
}

/** Tells of a stage's beginning and end around its work. */
export async function runStage<Result>({ onEvent, clock }: Pick<Ground, 'onEvent' | 'clock'>, name: StageName, work: () => Promise<Result>): Promise<Result> {
  onEvent({ kind: 'stage_started', ...name });
  const began = clock();
  const result = await work();
  onEvent({ kind: 'stage_finished', ...name, seconds: (clock() - began) / 1000 });
  return result;
}

/** The teacher answers the training prompts. */
export async function collectTraining(ground: Ground, signal?: AbortSignal): Promise<Collected> {
  const { plan, training } = ground;
  const { samples_per_prompt, temperature, max_tokens } = plan.collect;
  const name = { stage: 'collect', label: 'collect' } as const;
  return runStage(ground, name, () =>
    collect(
      {
        ...collectBasics(ground),
        onAnswered: countProgress(ground, name, { total: training.length * samples_per_prompt, unit: 'answers' }),
        name: 'train',
        prompts: training,
        samplesPerPrompt: samples_per_prompt,
        sampling: { temperature, topP: 1, topK: 0, maxTokens: max_tokens, stopIds: ground.stopIds },
        stream: STREAMS.collect,
        emptyAnswers: 'drop',
      },
      signal,
    ),
  );
}

/** The teacher answers the held-out prompts, once for all evaluations of the run. */
export async function collectHeldOut(ground: Ground, signal?: AbortSignal): Promise<Collected> {
  const { plan, heldOut } = ground;
  const name = { stage: 'evaluate', label: 'held-out teacher text' } as const;
  return runStage(ground, name, () =>
    collect(
      {
        ...collectBasics(ground),
        onAnswered: countProgress(ground, name, { total: heldOut.length, unit: 'answers' }),
        name: 'heldout',
        prompts: heldOut,
        samplesPerPrompt: 1,
        sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: plan.evaluate.max_tokens, stopIds: ground.stopIds },
        stream: STREAMS.heldOut,
        emptyAnswers: 'keep',
      },
      signal,
    ),
  );
}

function collectBasics({ store, teacher, clock, identity, plan, seed }: Ground) {
  return { store, teacher, clock, identity, k: plan.targets.top_k, seed };
}

/** A listener that tells of a stage's progress. */
function countProgress({ clock, onEvent }: Ground, name: StageName, { total, unit }: { total: number; unit: string }): (done: number) => void {
  const began = clock();
  return (done) => onEvent({ kind: 'progress', ...name, done, total, unit, rate: rateOf(done, (clock() - began) / 1000) });
}

/** What `distill` trains on. */
export interface TrainingPlan {
  readonly samples: readonly ShardSample[];
  readonly steps: readonly PlannedStep[];
  readonly truncatedDropped: number;
}

/** Decides what `distill` trains on. @throws NoSamples */
export function planTraining({ plan, seed }: Ground, collected: Collected): TrainingPlan {
  const { usable, truncatedDropped } = usableSamples(collected.samples, plan.distill.loss);
  if (usable.length === 0) throw new NoSamples(`all ${truncatedDropped} answers were cut off by collect.max_tokens, and the loss hard drops such; raise it or choose forward_kl`);
  return { samples: usable, steps: planDistill(usable, { distill: plan.distill, seed }), truncatedDropped };
}

/** Off-policy training, from the last checkpoint on; afterwards the engine holds its final weights. */
export async function distillStage(ground: Ground, training: TrainingPlan, signal?: AbortSignal): Promise<StageAccount> {
  const { engine, clock, plan } = ground;
  const desk = await LoopDesk.open(deskOptions(ground, 'distill'), training.steps.length);
  if (desk.isDone) return skip(ground, 'distill', desk.account);
  await runStage(ground, { stage: 'distill', label: 'distill' }, () => distill({ engine, desk, clock, samples: training.samples, plan: training.steps, spec: plan }, signal));
  return desk.account;
}

/** On-policy training, from the last checkpoint on; afterwards the engine holds its final weights. */
export async function alignStage(ground: Ground, signal?: AbortSignal): Promise<StageAccount> {
  const { store, identity, plan, epoch } = ground;
  const desk = await LoopDesk.open(deskOptions(ground, 'align'), plan.align.steps);
  if (desk.isDone) return skip(ground, 'align', desk.account);
  const journal = new Journal({ store, identity, k: plan.targets.top_k, epoch });
  const { engine, teacher, clock, training: prompts, stopIds, seed } = ground;
  await runStage(ground, { stage: 'align', label: 'align' }, () => align({ engine, teacher, desk, journal, clock, prompts, stopIds, seed, spec: plan }, signal));
  return desk.account;
}

function deskOptions({ store, engine, plan, clock, epoch, onEvent }: Ground, stage: 'distill' | 'align') {
  return { store, engine, stage, every: plan.checkpoint_every, clock, epoch, onEvent };
}

function skip({ onEvent }: Ground, stage: Stage, account: StageAccount): StageAccount {
  onEvent({ kind: 'stage_skipped', stage, label: stage });
  return account;
}

/** The bench of the run's evaluations. */
export function benchOf({ teacher, tokenizer, clock, heldOut, plan, stopIds, seed }: Ground, teacherText: readonly ShardSample[]): Bench {
  return {
    teacher,
    tokenizer,
    clock,
    prompts: heldOut,
    teacherText,
    maxTokens: plan.evaluate.max_tokens,
    rolloutsPerPrompt: plan.evaluate.rollouts_per_prompt,
    stopIds,
    k: plan.targets.top_k,
    seed,
    microBatchTokens: plan.micro_batch_tokens,
  };
}

/** Measures the student as it is now and keeps the record and its answers; measured before, only reads. */
export async function evaluateStage(ground: Ground, { bench, label }: { bench: Bench; label: string }, signal?: AbortSignal): Promise<EvaluationRecord> {
  const file = `evaluation/${label}.json`;
  const name = { stage: 'evaluate', label: `evaluate ${label.replace('_', ' ')}` } as const;
  const stored = await readState(ground.store, file, evaluationRecordSchema);
  if (stored) {
    ground.onEvent({ kind: 'stage_skipped', ...name });
    return stored;
  }
  return runStage(ground, name, async () => {
    const onAnswered = countProgress(ground, name, { total: bench.prompts.length * bench.rolloutsPerPrompt, unit: 'rollouts' });
    const { record, rollouts } = await evaluateStudent(ground.engine, { bench, label, onAnswered }, signal);
    await writeAnswers(ground, bench, { label, rollouts });
    await writeState(ground.store, file, record);
    return record;
  });
}

/** `samples/<label>.jsonl`: each held-out prompt with the teacher's and the student's first answer, as text with special tokens. */
async function writeAnswers({ store, tokenizer }: Ground, { prompts, teacherText }: Bench, { label, rollouts }: { label: string; rollouts: readonly Rollout[] }): Promise<void> {
  const text = (ids: Int32Array): string => tokenizer.decode(ids, { skipSpecial: 'keep' });
  const written = new Map(teacherText.map(({ origin, completion_T }) => [origin, text(completion_T)]));
  const lines = rollouts.slice(0, prompts.length).map(({ completion_T }, index) => JSON.stringify({ prompt: text(prompts[index].ids_T), teacher: written.get(index) ?? null, student: text(completion_T) }));
  await store.write(`samples/${label}.jsonl`, Buffer.from(`${lines.join('\n')}\n`));
}
