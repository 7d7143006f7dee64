import type { Engine } from '../engine/engine.js';
import type { TeacherClient } from '../teacher-clients/teacher-client.js';
import type { ChatPrompt } from './prompts.js';
import type { RunEvent } from './events.js';
import type { InterchangeRunner } from './interchange-check.js';
import type { Spec } from './spec.js';
import type { RunStore } from './store.js';
import type { RunTemplate, RunTokenizer } from './text.js';

/** Milliseconds of any origin; only differences are used, and none of them reaches a weight. */
export type Clock = () => number;

/** Everything a run needs from outside. The caller opens and closes teacher and store; the run opens and closes its engines. */
export interface RunContext {
  readonly spec: Spec;
  readonly store: RunStore;
  /** The student's directory; read only. */
  readonly modelDir: string;
  readonly tokenizer: RunTokenizer;
  readonly template: RunTemplate;
  /** Parsed `training_file` and `validation_file` (`parsePrompts`). */
  readonly trainingPrompts: readonly ChatPrompt[];
  readonly validationPrompts: readonly ChatPrompt[];
  readonly teacher: TeacherClient;
  /** Opens an engine on a model directory: on the student for the stages that train or measure it, and once for each trained control. */
  readonly openEngine: (modelDir: string) => Promise<Engine>;
  /** Runs the exported ONNX model to compare it with the engine; `runInterchange` of model-files. */
  readonly runInterchange: InterchangeRunner;
  readonly clock: Clock;
  /** Bytes this process and its engine may still take, for the memory check; left out, the check warns that it cannot know. */
  readonly freeMemoryBytes?: number;
  /** Bytes free where the store lies, likewise. */
  readonly freeDiskBytes?: number;
  readonly onEvent: (event: RunEvent) => void;
  /** Everything told so far is durable when it resolves; what it throws fails the commit that waits for it. Left out where what is told need not last. */
  readonly settled?: () => Promise<void>;
  /** Counts the attempts on this store, >= 1; greater than that of every attempt before. Names of checkpoints carry it. */
  readonly epoch: number;
}
