import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { RunTemplate, RunTokenizer } from './text.js';
import { ResumeMismatch, StageMissing } from './distillation.errors.js';
import { promptsHash, type RenderedPrompt } from './prompts.js';
import { readState, writeState } from './run-state.js';
import { specHash, type Spec } from './spec.js';
import type { RunStore } from './store.js';

const FILE = 'run.json';

/** Text with what tokenizers differ in: case, digits, spaces, line ends, accents, other scripts, emoji, code. */
export const PROBE_TEXT = 'The year 2024, déjà vu:\n\n  indented\tcode = f(x) => x ** 2;  Ünïcödé 東京 Привет 🙂 don\'t  WON\'T 1234567890\r\n';

const identitySchema = z.strictObject({
  spec: z.string(),
  student: z.string(),
  prompts: z.string(),
  heldOut: z.string(),
  teacher: z.string(),
  tokenizer: z.string(),
  template: z.string(),
});

/** Hashes of everything that a run's files depend on. */
export type RunIdentity = z.output<typeof identitySchema>;

const NAMES: Readonly<Record<keyof RunIdentity, string>> = {
  spec: 'the spec',
  student: 'the starting student',
  prompts: 'the training prompts',
  heldOut: 'the held-out prompts',
  teacher: 'the teacher',
  tokenizer: 'the tokenizer',
  template: 'the chat template',
};

/** What a run's identity is made of. */
export interface IdentityParts {
  readonly spec: Spec;
  /** Hash of the starting student's weights. */
  readonly student: string;
  readonly tokenizer: RunTokenizer;
  readonly template: RunTemplate;
  readonly training: readonly RenderedPrompt[];
  readonly heldOut: readonly RenderedPrompt[];
}

/** The identity but for the teacher, which alone has to be asked. */
export type LocalIdentity = Omit<RunIdentity, 'teacher'>;

/** Tokenizer and template are known by what they do: every id's text, a probe text's ids, a probe conversation's rendering. */
export function identify({ spec, student, tokenizer, template, training, heldOut }: IdentityParts): LocalIdentity {
  return {
    spec: specHash(spec),
    student,
    prompts: promptsHash(training),
    heldOut: promptsHash(heldOut),
    tokenizer: tokenizerHash(tokenizer),
    template: templateHash(template),
  };
}

/**
 * Writes the identity of a new run, or compares it with that of the run begun before.
 * @throws ResumeMismatch naming what differs; nothing is written then.
 */
export async function claimStore(store: RunStore, identity: RunIdentity): Promise<void> {
  const earlier = await readState(store, FILE, identitySchema);
  if (earlier === undefined) return writeState(store, FILE, identity);
  refuseOther(earlier, identity);
}

/**
 * The identity of the run begun before, after comparing with it everything that is at hand.
 * @throws StageMissing when nothing was validated here; ResumeMismatch naming what differs.
 */
export async function rejoinStore(store: RunStore, local: LocalIdentity): Promise<RunIdentity> {
  const earlier = await readState(store, FILE, identitySchema);
  if (earlier === undefined) throw new StageMissing(`${FILE} is not there: the stage validate comes before every other`);
  refuseOther(earlier, local);
  return earlier;
}

/** @param teacher `TeacherCapabilities.fingerprint` of the teacher at hand. @throws ResumeMismatch when it is not the run's. */
export function refuseOtherTeacher(identity: RunIdentity, teacher: string): void {
  refuseOther(identity, { teacher });
}

function refuseOther(earlier: RunIdentity, now: Partial<RunIdentity>): void {
  const differing = identitySchema.keyof().options.filter((part) => now[part] !== undefined && earlier[part] !== now[part]);
  if (differing.length === 0) return;
  throw new ResumeMismatch(`this directory belongs to a run in which ${differing.map((part) => NAMES[part]).join(', ')} differed; resume with the same, or start in another directory`);
}

function tokenizerHash(tokenizer: RunTokenizer): string {
  const hash = createHash('sha256');
  for (let id = 0; id < tokenizer.vocabSize; id++) hash.update(`${tokenizer.decode(Int32Array.of(id), { skipSpecial: 'keep' })}\0`);
  hash.update(JSON.stringify([...tokenizer.addedTokens].sort(([, a], [, b]) => a - b)));
  hash.update(tokenizer.encode(PROBE_TEXT).join(','));
  return hash.digest('hex');
}

function templateHash(template: RunTemplate): string {
  const user = { role: 'user', content: 'question' } as const;
  const system = { role: 'system', content: 'system' } as const;
  const answer = { role: 'assistant', content: 'answer' } as const;
  const renderings = [template.render([user], { addGenerationPrompt: 'add' }), template.render([system, user, answer, user], { addGenerationPrompt: 'omit' })];
  return createHash('sha256').update(JSON.stringify(renderings)).digest('hex');
}
