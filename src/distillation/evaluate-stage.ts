import type { Engine } from '../engine/engine.js';
import { recallHeldOut } from './collect-stage.js';
import { StageMissing } from './distillation.errors.js';
import { evaluateStudent, evaluateTeacher, type Bench } from './evaluation.js';
import { evaluationRecordSchema, type EvaluationRecord } from './evaluation-record.js';
import type { AnswerPair } from './events.js';
import type { Ground } from './ground.js';
import { lazily } from './lazily.js';
import type { StageAccount } from './report.js';
import type { Rollout } from './rollouts.js';
import { addCosts, NO_COST, readState, writeState } from './run-state.js';
import { countProgress, runStage, type StageName } from './stage-events.js';
import { reach, type Milestone } from './training-stages.js';

/** What is measured where. */
const EVALUATIONS = [
  ['before', 'start'],
  ['after_distill', 'distill'],
  ['after_align', 'align'],
] as const satisfies readonly (readonly [string, Milestone])[];

/** The committed evaluations of a run. */
export type EvaluationRecords = Readonly<Record<'teacher' | (typeof EVALUATIONS)[number][0], EvaluationRecord>>;

/** The stage `evaluate`: the teacher, and the student before, after distill and after align, each committed on its own and never measured again. */
export async function evaluateStage(ground: Ground, signal?: AbortSignal): Promise<StageAccount> {
  const bench = lazily(() => benchOf(ground, signal));
  if (!(await readRecord(ground, 'teacher'))) await writeState(ground.store, fileOf('teacher'), evaluateTeacher(await bench()));
  let account = NO_COST;
  for (const [label, milestone] of EVALUATIONS) {
    const stored = await readRecord(ground, label);
    if (stored) ground.onEvent({ kind: 'stage_skipped', ...nameOf(label) });
    const record = stored ?? (await measure(ground, { bench: await bench(), label, engine: await reach(ground, milestone, signal) }, signal));
    account = addCosts(account, record.account);
  }
  return account;
}

/** @throws StageMissing when one is not there. */
export async function readEvaluations(ground: Pick<Ground, 'store'>): Promise<EvaluationRecords> {
  const read = async (label: keyof EvaluationRecords): Promise<EvaluationRecord> => {
    const record = await readRecord(ground, label);
    if (!record) throw new StageMissing(`${fileOf(label)} is not there: the stage evaluate comes first`);
    return record;
  };
  return { teacher: await read('teacher'), before: await read('before'), after_distill: await read('after_distill'), after_align: await read('after_align') };
}

/** The bench of the run's evaluations, on the text that the teacher wrote in `collect`. @throws StageMissing */
export async function benchOf(ground: Ground, signal?: AbortSignal): Promise<Bench> {
  const { tokenizer, clock, heldOut, plan, stopIds, seed } = ground;
  return {
    teacherText: (await recallHeldOut(ground)).samples,
    teacher: await ground.meetTeacher(signal),
    tokenizer,
    clock,
    prompts: heldOut,
    maxTokens: plan.evaluate.max_tokens,
    rolloutsPerPrompt: plan.evaluate.rollouts_per_prompt,
    stopIds,
    k: plan.targets.top_k,
    seed,
    microBatchTokens: plan.micro_batch_tokens,
  };
}

/** Measures the student that an engine holds, and keeps the record and the student's answers under the label. */
export async function measure(ground: Ground, { bench, label, engine }: { bench: Bench; label: string; engine: Engine }, signal?: AbortSignal): Promise<EvaluationRecord> {
  const name = nameOf(label);
  return runStage(ground, name, async () => {
    const onAnswered = countProgress(ground, name, { total: bench.prompts.length * bench.rolloutsPerPrompt, unit: 'rollouts' });
    const { record, rollouts } = await evaluateStudent(engine, { bench, label, onAnswered }, signal);
    const samples = pairAnswers(bench, rollouts);
    await ground.store.write(`samples/${label}.jsonl`, Buffer.from(samples.map((pair) => `${JSON.stringify(pair)}\n`).join('')));
    ground.onEvent({ kind: 'samples', label, samples });
    await writeState(ground.store, fileOf(label), record);
    return record;
  });
}

/** Each held-out prompt with the teacher's and the student's first answer, as text with special tokens. */
function pairAnswers({ tokenizer, prompts, teacherText }: Bench, rollouts: readonly Rollout[]): AnswerPair[] {
  const text = (ids: Int32Array): string => tokenizer.decode(ids, { skipSpecial: 'keep' });
  const written = new Map(teacherText.map(({ origin, completion_T }) => [origin, text(completion_T)]));
  return rollouts.slice(0, prompts.length).map(({ completion_T }, index) => ({ prompt: text(prompts[index].ids_T), teacher: written.get(index) ?? null, student: text(completion_T) }));
}

function readRecord({ store }: Pick<Ground, 'store'>, label: string): Promise<EvaluationRecord | undefined> {
  return readState(store, fileOf(label), evaluationRecordSchema);
}

function fileOf(label: string): string {
  return `evaluation/${label}.json`;
}

function nameOf(label: string): StageName {
  return { stage: 'evaluate', label: `evaluate ${label.replace('_', ' ')}` };
}
