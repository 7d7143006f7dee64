import type { Engine } from '../engine/engine.js';
import { readModelConfig, type ModelConfig } from '../model-files/config.js';
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
  const subject = await examine(context);
  tell(context, checkInputs(subject));
  const { checks, capabilities } = await checkTeacher(subject, context.teacher, signal);
  tell(context, checks);
  const { spec, tokenizer, template, store } = context;
  const { training, config } = subject;
  const heldOut = subject.heldOut.slice(0, spec.method.distillation.evaluate.prompts);
  const identity = identify({ spec, tokenizer, template, training, heldOut, fingerprint: capabilities.fingerprint });
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

async function examine(context: RunContext): Promise<Subject> {
  const { spec, tokenizer, template, trainingPrompts, validationPrompts, modelDir, freeMemoryBytes, freeDiskBytes } = context;
  const rendering = { tokenizer, template, mix: spec.method.distillation.modes };
  const training = renderPrompts(trainingPrompts, rendering);
  const heldOut = renderPrompts(validationPrompts, rendering);
  const config = await readModelConfig(modelDir);
  await (await ModelDirectory.open(modelDir)).close();
  return { spec, config, tokenizer, template, training, heldOut, freeMemoryBytes, freeDiskBytes };
}

function tell({ onEvent }: RunContext, checks: readonly Check[]): void {
  for (const check of checks) onEvent({ kind: 'check', ...check });
}
