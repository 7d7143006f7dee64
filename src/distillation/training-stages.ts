import type { Engine } from '../engine/engine.js';
import { align } from './align-loop.js';
import { recallTraining } from './collect-stage.js';
import { distill } from './distill-loop.js';
import { StageMissing } from './distillation.errors.js';
import type { Ground } from './ground.js';
import { Journal } from './journal.js';
import { LoopDesk, type DeskOptions } from './loop-desk.js';
import type { StageAccount } from './report.js';
import { NO_COST } from './run-state.js';
import { checkpointInterval } from './spec.js';
import { runStage } from './stage-events.js';
import type { TrainingStage } from './stage-order.js';
import { planTraining, type TrainingPlan } from './training-plan.js';
import { lastCheckpoint, readTraining } from './training-state.js';

/** Weights that a stage can begin with: the starting student's, or those at the end of a training stage. */
export type Milestone = 'start' | TrainingStage;

/** The stage `distill`: off-policy training, from the last checkpoint on. The teacher is not asked. */
export async function distillStage(ground: Ground, signal?: AbortSignal): Promise<StageAccount> {
  return (await finishedBefore(ground, 'distill')) ?? train(ground, 'distill', signal);
}

/** The stage `align`: on-policy training, from its last checkpoint on, or from where distill ended. No steps, no stage. */
export async function alignStage(ground: Ground, signal?: AbortSignal): Promise<StageAccount> {
  if (ground.plan.align.steps === 0) return skip(ground, 'align', NO_COST);
  return (await finishedBefore(ground, 'align')) ?? train(ground, 'align', signal);
}

/**
 * Brings the student's engine to a milestone. Steps that a damaged last checkpoint lost are taken again, from what the store holds of the
 * teacher's words.
 * @throws StageMissing when the stage has not come to its end; NoValidCheckpoint.
 */
export async function reach(ground: Ground, milestone: Milestone, signal?: AbortSignal): Promise<Engine> {
  if (milestone === 'start') return ground.student.start();
  if (milestone === 'align' && ground.plan.align.steps === 0) return reach(ground, 'distill', signal);
  if (!(await readTraining(ground.store, milestone))?.finished) throw new StageMissing(`the stage ${milestone} is not finished; it comes first`);
  await train(ground, milestone, signal);
  return ground.student.current();
}

/** Trains off-policy in the ground's engine and store. @param planned is asked only when steps are left. @returns the stage's cost so far. */
export async function trainDistill(ground: Ground, planned: () => Promise<TrainingPlan>, signal?: AbortSignal): Promise<StageAccount> {
  const { student, clock, plan } = ground;
  const desk = await LoopDesk.open(deskOptions(ground, 'distill', () => student.start()));
  if (desk.isDone) return desk.account;
  const { samples, steps } = await planned();
  const engine = await student.current();
  await runStage(ground, { stage: 'distill', label: 'distill' }, () => distill({ engine, desk, clock, samples, plan: steps, spec: plan }, signal));
  return desk.account;
}

/** Trains on-policy in the ground's engine and store. @param begin brings the engine to where the stage begins. @returns the stage's cost so far. */
export async function trainAlign(ground: Ground, begin: () => Promise<unknown>, signal?: AbortSignal): Promise<StageAccount> {
  const { store, identity, plan, epoch, student, meetTeacher, clock, training: prompts, stopIds, seed } = ground;
  const desk = await LoopDesk.open(deskOptions(ground, 'align', begin));
  if (desk.isDone) return desk.account;
  const journal = new Journal({ store, identity, k: plan.targets.top_k, epoch });
  const engine = await student.current();
  await runStage(ground, { stage: 'align', label: 'align' }, () => align({ engine, meetTeacher, desk, journal, clock, prompts, stopIds, seed, spec: plan }, signal));
  return desk.account;
}

function train(ground: Ground, stage: TrainingStage, signal?: AbortSignal): Promise<StageAccount> {
  if (stage === 'align') return trainAlign(ground, () => reach(ground, 'distill', signal), signal);
  return trainDistill(ground, async () => planTraining(ground, await recallTraining(ground)), signal);
}

async function finishedBefore(ground: Ground, stage: TrainingStage): Promise<StageAccount | undefined> {
  const last = lastCheckpoint(await readTraining(ground.store, stage));
  return last && skip(ground, stage, last.account);
}

function deskOptions({ store, student, plan, clock, epoch, onEvent, settled }: Ground, stage: TrainingStage, begin: DeskOptions['begin']): DeskOptions {
  return { store, student, stage, every: checkpointInterval(plan.checkpoint_every), clock, epoch, onEvent, settled, begin };
}

function skip({ onEvent }: Ground, stage: TrainingStage, account: StageAccount): StageAccount {
  onEvent({ kind: 'stage_skipped', stage, label: stage });
  return account;
}
