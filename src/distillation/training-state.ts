import { z } from 'zod';
import { accountSchema, readState, writeState } from './run-state.js';
import type { TrainingStage } from './stage-order.js';
import type { RunStore } from './store.js';

const checkpointSchema = z.strictObject({
  /** Its directory in the store; a directory counts as a checkpoint only while the state file names it. */
  name: z.string(),
  /** Steps of the stage that it holds. */
  step: z.int().min(0),
  /** Optimiser steps in it, earlier stages included. */
  engine_step: z.int().min(0),
  /** What its bits depend on. */
  engine: z.string(),
  bytes: z.int().min(0),
  /** What the stage had cost when it was written. */
  account: accountSchema,
});

const trainingState = z.strictObject({
  /** Steps of the whole stage. */
  steps: z.int().min(0),
  /** Whether the stage has come to its end, be its last checkpoint still there or not. */
  finished: z.boolean(),
  /** Newest first; empty when every one was found damaged. */
  checkpoints: z.array(checkpointSchema),
});

/** A committed checkpoint. */
export type Checkpoint = z.output<typeof checkpointSchema>;
/** `state/<stage>.json`: how far a training stage has come. */
export type TrainingState = z.output<typeof trainingState>;

/** Undefined when the stage has committed nothing yet. @throws StateDamaged */
export async function readTraining(store: RunStore, stage: TrainingStage): Promise<TrainingState | undefined> {
  return readState(store, stateFile(stage), trainingState);
}

/** Commits how far a stage has come: what the state does not name any longer may be removed. */
export async function writeTraining(store: RunStore, stage: TrainingStage, state: TrainingState): Promise<void> {
  await writeState(store, stateFile(stage), state);
}

/** The checkpoint at the end of the stage; undefined until there is one. */
export function lastCheckpoint(state: TrainingState | undefined): Checkpoint | undefined {
  const newest = state?.checkpoints[0];
  return newest && newest.step === state.steps ? newest : undefined;
}

function stateFile(stage: TrainingStage): string {
  return `state/${stage}.json`;
}
