import { createHash } from 'node:crypto';
import type { Engine } from '../engine/engine.js';
import type { ModelConfig } from '../model-files/config.js';
import { ModelDirectory } from '../model-files/model-directory.js';
import type { RunContext } from './context.js';
import { claimStore, identify, type RunIdentity } from './identity.js';
import { checkEngine, checkInputs, checkTeacher, type Check, type Subject } from './preflight.js';
import { renderPrompts, type RenderedPrompt } from './prompts.js';
import type { DistillationSpec } from './spec.js';

/** A run whose checks have all passed: everything its stages stand on. */
export interface Ground extends RunContext {
  readonly plan: DistillationSpec;
  readonly seed: number;
  readonly config: ModelConfig;
  /** On the starting student; the stages train it. */
  readonly engine: Engine;
  readonly identity: RunIdentity;
  readonly training: readonly RenderedPrompt[];
  /** The head of the validation file, `evaluate.prompts` of it. */
  readonly heldOut: readonly RenderedPrompt[];
  /** Every id that ends a completion. */
  readonly stopIds: readonly number[];
}

/**
 * The stage `validate`: makes every check, opens the engine, and claims the store. The caller closes the engine.
 * @throws PreflightFailed and other refusals before anything is written.
 */
export async function validate(context: RunContext, signal?: AbortSignal): Promise<Ground> {
  const { subject, weightsHash } = await examine(context);
  tell(context, checkInputs(subject));
  const { checks, capabilities } = await checkTeacher(subject, context.teacher, signal);
  tell(context, checks);
  const { spec, tokenizer, template, store } = context;
  const { training, config } = subject;
  const heldOut = subject.heldOut.slice(0, spec.method.distillation.evaluate.prompts);
  const identity = identify({ spec, student: weightsHash, tokenizer, template, training, heldOut, fingerprint: capabilities.fingerprint });
  const engine = await context.openEngine(context.modelDir);
  try {
    tell(context, checkEngine(subject, await engine.describe()));
    await claimStore(store, identity);
  } catch (error) {
    await engine.close();
    throw error;
  }
  return { ...context, plan: spec.method.distillation, seed: spec.seed, config, engine, identity, training, heldOut, stopIds: config.eosIds };
}

async function examine(context: RunContext): Promise<{ subject: Subject; weightsHash: string }> {
  const { spec, tokenizer, template, trainingPrompts, validationPrompts, modelDir, freeMemoryBytes, freeDiskBytes } = context;
  const rendering = { tokenizer, template, mix: spec.method.distillation.modes };
  const training = renderPrompts(trainingPrompts, rendering);
  const heldOut = renderPrompts(validationPrompts, rendering);
  const { config, weightsHash } = await readStudent(modelDir);
  return { subject: { spec, config, tokenizer, template, training, heldOut, freeMemoryBytes, freeDiskBytes }, weightsHash };
}

/** Reads the whole starting student once: what is missing or damaged shows here, before any work. */
async function readStudent(modelDir: string): Promise<{ config: ModelConfig; weightsHash: string }> {
  const directory = await ModelDirectory.open(modelDir);
  try {
    const hash = createHash('sha256');
    for (const name of directory.names) hash.update(`${name}\n`).update((await directory.tensor(name)).bytes);
    return { config: directory.config, weightsHash: hash.digest('hex') };
  } finally {
    await directory.close();
  }
}

function tell({ onEvent }: RunContext, checks: readonly Check[]): void {
  for (const check of checks) onEvent({ kind: 'check', ...check });
}
