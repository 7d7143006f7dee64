import { z } from 'zod';
import { collect, shardCount, type Collected, type CollectJob } from './collect.js';
import { StageMissing } from './distillation.errors.js';
import type { Ground } from './ground.js';
import { STREAMS } from './random.js';
import type { StageAccount } from './report.js';
import { accountSchema, addCosts, readState, writeState } from './run-state.js';
import { countProgress, runStage, type StageName } from './stage-events.js';
import { usableTraining } from './training-plan.js';

const STATE_FILE = 'state/collect.json';
const TRAINING: StageName = { stage: 'collect', label: 'collect' };
const HELD_OUT: StageName = { stage: 'collect', label: 'held-out teacher text' };

const count = z.int().min(0);
const collectState = z.strictObject({
  asked: count,
  /** Answers that `distill` trains on. */
  kept: count,
  empty: count,
  truncated: count,
  /** Of the truncated ones, those that distill's loss cannot use. */
  truncated_dropped: count,
  accounts: z.strictObject({ training: accountSchema, held_out: accountSchema }),
});
/** A committed collection, in numbers. */
export type CollectState = z.output<typeof collectState>;

/** The stage `collect`: the teacher answers the training prompts, and the held-out ones once for all evaluations of the run. No engine is needed. */
export async function collectStage(ground: Ground, signal?: AbortSignal): Promise<StageAccount> {
  const stored = await readState(ground.store, STATE_FILE, collectState);
  if (stored && (await isWhole(ground, stored))) {
    ground.onEvent({ kind: 'stage_skipped', ...TRAINING });
    return addCosts(stored.accounts.training, stored.accounts.held_out);
  }
  const training = await collectTraining(ground, signal);
  const heldOut = await collectHeldOut(ground, signal);
  const { usable, truncatedDropped } = usableTraining(ground, training);
  const state: CollectState = {
    asked: training.asked,
    kept: usable.length,
    empty: training.empty,
    truncated: training.samples.filter(({ finish }) => finish === 'length').length,
    truncated_dropped: truncatedDropped,
    accounts: { training: training.account, held_out: heldOut.account },
  };
  await writeState(ground.store, STATE_FILE, state);
  return addCosts(training.account, heldOut.account);
}

/** @throws StageMissing when the collection is not finished. */
export async function readCollectState({ store }: Pick<Ground, 'store'>): Promise<CollectState> {
  const state = await readState(store, STATE_FILE, collectState);
  if (!state) throw new StageMissing(`${STATE_FILE} is not there: the stage collect comes first`);
  return state;
}

/** The teacher answers the training prompts. */
export async function collectTraining(ground: Ground, signal?: AbortSignal): Promise<Collected> {
  const job = trainingJob(ground);
  const total = job.prompts.length * job.samplesPerPrompt;
  return runStage(ground, TRAINING, () => collect({ ...job, onAnswered: countProgress(ground, TRAINING, { total, unit: 'answers' }) }, signal));
}

/** The teacher answers the held-out prompts. */
export async function collectHeldOut(ground: Ground, signal?: AbortSignal): Promise<Collected> {
  const job = heldOutJob(ground);
  return runStage(ground, HELD_OUT, () => collect({ ...job, onAnswered: countProgress(ground, HELD_OUT, { total: job.prompts.length, unit: 'answers' }) }, signal));
}

/** What the teacher answered to the training prompts; it is not asked. @throws StageMissing, ShardDamaged */
export async function recallTraining(ground: Ground): Promise<Collected> {
  return collect({ ...trainingJob(ground), meetTeacher: refuseToAsk });
}

/** What the teacher answered to the held-out prompts; it is not asked. @throws StageMissing, ShardDamaged */
export async function recallHeldOut(ground: Ground): Promise<Collected> {
  return collect({ ...heldOutJob(ground), meetTeacher: refuseToAsk });
}

function trainingJob(ground: Ground): CollectJob {
  const { samples_per_prompt, temperature, max_tokens } = ground.plan.collect;
  return {
    ...basics(ground),
    name: 'train',
    prompts: ground.training,
    samplesPerPrompt: samples_per_prompt,
    sampling: { temperature, topP: 1, topK: 0, maxTokens: max_tokens, stopIds: ground.stopIds },
    stream: STREAMS.collect,
    emptyAnswers: 'drop',
  };
}

function heldOutJob(ground: Ground): CollectJob {
  return {
    ...basics(ground),
    name: 'heldout',
    prompts: ground.heldOut,
    samplesPerPrompt: 1,
    sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: ground.plan.evaluate.max_tokens, stopIds: ground.stopIds },
    stream: STREAMS.heldOut,
    emptyAnswers: 'keep',
  };
}

function basics({ store, meetTeacher, clock, identity, plan, seed }: Ground) {
  return { store, meetTeacher, clock, identity, k: plan.targets.top_k, seed, onAnswered: () => undefined };
}

async function refuseToAsk(): Promise<never> {
  throw new StageMissing('some of what the teacher wrote is not in the store: the stage collect comes first');
}

/** A shard that somebody removed is asked for again. */
async function isWhole({ store, heldOut }: Ground, { asked }: CollectState): Promise<boolean> {
  const [training, held] = [await store.list('shards/train-'), await store.list('shards/heldout-')];
  return training.length === shardCount(asked) && held.length === shardCount(heldOut.length);
}
