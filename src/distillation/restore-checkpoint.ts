import { CheckpointInvalid } from '../engine/engine.js';
import { NoValidCheckpoint } from './distillation.errors.js';
import type { RunEvent } from './events.js';
import type { TrainingStage } from './stage-order.js';
import type { RunStore } from './store.js';
import type { StudentEngine } from './student-engine.js';
import { writeTraining, type Checkpoint, type TrainingState } from './training-state.js';

/** Whose checkpoints are restored, and into what. */
export interface RestoreOptions {
  readonly store: RunStore;
  readonly student: StudentEngine;
  readonly stage: TrainingStage;
  readonly onEvent: (event: RunEvent) => void;
}

/**
 * Loads the newest checkpoint that is whole. Damaged ones before it are set aside under `quarantine/` and leave the state file.
 * @returns the state as it is then, its first checkpoint the one loaded. @throws NoValidCheckpoint
 */
export async function restoreNewest(options: RestoreOptions, state: TrainingState): Promise<TrainingState> {
  const [newest, ...older] = state.checkpoints;
  if (!newest) {
    throw new NoValidCheckpoint(`${options.stage} had come as far as a checkpoint, and none can be loaded; what is left of them lies under quarantine/${options.stage}. Restore one, or start another run`);
  }
  try {
    await options.student.load({ name: newest.name, dir: options.store.path(newest.name) }, newest.engine_step);
    return state;
  } catch (error) {
    if (!(error instanceof CheckpointInvalid)) throw error;
    await setAside(options, newest);
    const left = { ...state, checkpoints: older };
    await writeTraining(options.store, options.stage, left);
    options.onEvent({ kind: 'quarantined', stage: options.stage, step: newest.step, name: newest.name, message: error.message });
    return restoreNewest(options, left);
  }
}

/** Moves what is left of a checkpoint where nothing looks for one: a person may want to know what became of it. What cannot be moved, or is gone, stays as it is. */
async function setAside({ store }: RestoreOptions, { name }: Checkpoint): Promise<void> {
  const aside = name.replace(/^checkpoints/, 'quarantine');
  await store.remove(aside);
  await store.publish(name, aside).catch(() => undefined);
}
