import { createHash } from 'node:crypto';
import type { ModelConfig } from '../model-files/config.js';
import { ModelDirectory } from '../model-files/model-directory.js';
import type { TeacherClient } from '../teacher-clients/teacher-client.js';
import type { RunContext } from './context.js';
import { identify, refuseOtherTeacher, rejoinStore, type LocalIdentity, type RunIdentity } from './identity.js';
import type { Subject } from './preflight.js';
import { renderPrompts, type RenderedPrompt } from './prompts.js';
import type { DistillationSpec } from './spec.js';
import type { StudentEngine } from './student-engine.js';

/** A validated run: everything its stages stand on. */
export interface Ground extends Omit<RunContext, 'teacher'> {
  readonly plan: DistillationSpec;
  readonly seed: number;
  readonly config: ModelConfig;
  /** The stages train it; the one who laid the ground closes it. */
  readonly student: StudentEngine;
  readonly identity: RunIdentity;
  readonly training: readonly RenderedPrompt[];
  /** The head of the validation file, `evaluate.prompts` of it. */
  readonly heldOut: readonly RenderedPrompt[];
  /** Every id that ends a completion. */
  readonly stopIds: readonly number[];
  /** The teacher, once it is recognised as the one the run began with. @throws ResumeMismatch, and what the client throws when the teacher is down. */
  readonly meetTeacher: (signal?: AbortSignal) => Promise<TeacherClient>;
}

/** What a run is about, read but not yet checked. */
export interface Survey {
  readonly subject: Subject;
  readonly local: LocalIdentity;
}

/** Reads and renders every input. @throws what is wrong with the prompts or the student's directory. */
export async function survey({ spec, tokenizer, template, trainingPrompts, validationPrompts, modelDir, freeMemoryBytes, freeDiskBytes }: RunContext): Promise<Survey> {
  const { modes, evaluate } = spec.method.distillation;
  const training = renderPrompts(trainingPrompts, { tokenizer, template, mix: modes });
  const heldOut = renderPrompts(validationPrompts, { tokenizer, template, mix: modes });
  const { config, weightsHash } = await readStudent(modelDir);
  const local = identify({ spec, student: weightsHash, tokenizer, template, training, heldOut: heldOut.slice(0, evaluate.prompts) });
  return { subject: { spec, config, tokenizer, template, training, heldOut, freeMemoryBytes, freeDiskBytes }, local };
}

/** What a stage other than `validate` stands on; the teacher is not asked. @throws StageMissing, ResumeMismatch */
export async function returnTo(context: RunContext, student: StudentEngine): Promise<Ground> {
  const { subject, local } = await survey(context);
  const identity = await rejoinStore(context.store, local);
  return layGround({ context, subject, identity, student }, undefined);
}

/** @param known the teacher's fingerprint where it has just been asked. */
export function layGround({ context, subject, identity, student }: GroundParts, known: string | undefined): Ground {
  const { teacher, spec } = context;
  const { training, config } = subject;
  const plan = spec.method.distillation;
  let fingerprint = known;
  const meetTeacher = async (signal?: AbortSignal): Promise<TeacherClient> => {
    fingerprint ??= (await teacher.probe(plan.targets.top_k, signal)).fingerprint;
    refuseOtherTeacher(identity, fingerprint);
    return teacher;
  };
  const heldOut = subject.heldOut.slice(0, plan.evaluate.prompts);
  return { ...context, plan, seed: spec.seed, config, student, identity, training, heldOut, stopIds: config.eosIds, meetTeacher };
}

interface GroundParts {
  readonly context: RunContext;
  readonly subject: Subject;
  readonly identity: RunIdentity;
  readonly student: StudentEngine;
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
