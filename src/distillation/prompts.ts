import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Mode, TokenIds } from '../tokens/sample.js';
import type { RunTemplate, RunTokenizer } from './text.js';
import { ModeUnavailable, PromptInvalid, PromptsEmpty, PromptsMalformed } from './distillation.errors.js';

const line = z.strictObject({
  messages: z
    .array(z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string() }))
    .min(1)
    .refine((messages) => messages[messages.length - 1]?.role === 'user', 'the last message must be the user\'s, for the answer to follow it'),
  answer: z.string().optional(),
  mode: z.enum(['think', 'no_think', 'plain']).optional(),
});

/** One line of a prompt file. */
export type ChatPrompt = z.output<typeof line>;

/** A prompt as the models see it. */
export interface RenderedPrompt {
  /** Template applied, generation prompt added; at least one id. */
  readonly ids_T: TokenIds;
  /** The right answer, where the file gives one. */
  readonly answer?: string;
}

/**
 * Reads JSONL; blank lines are skipped.
 * @param file only named in errors.
 * @throws PromptsEmpty, PromptsMalformed, PromptInvalid with the 1-based line.
 */
export function parsePrompts(text: string, file: string): ChatPrompt[] {
  const prompts: ChatPrompt[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    if (raw.trim() !== '') prompts.push(parsePrompt(raw, `${file}:${index + 1}`));
  }
  if (prompts.length === 0) throw new PromptsEmpty(`${file} holds no prompt; write one JSON object a line, such as {"messages":[{"role":"user","content":"…"}]}`);
  return prompts;
}

/** Reads one line that is not blank. @param where begins the error's message. @throws PromptsMalformed, PromptInvalid */
export function parsePrompt(raw: string, where: string): ChatPrompt {
  let value: unknown;
  try {
    value = JSON.parse(raw);
  } catch (cause) {
    throw new PromptsMalformed(`${where} is not JSON (${(cause instanceof Error && cause.message) || 'unreadable'}); each line must be one JSON object`, { cause });
  }
  const result = line.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = issue.path.join('.') || '(the line)';
  throw new PromptInvalid(`${where}, ${field}: ${issue.message}; right is {"messages":[{"role":"user","content":"…"}], "answer"?: "…", "mode"?: "…"}`);
}

/**
 * Renders prompts for a model without the thinking switch.
 * @param mix shares of the modes asked for.
 * @throws ModeUnavailable when the mix or a line asks for a thinking mode; PromptInvalid when a prompt renders to nothing.
 */
export function renderPrompts(
  prompts: readonly ChatPrompt[],
  { tokenizer, template, mix }: { tokenizer: RunTokenizer; template: RunTemplate; mix: Readonly<Record<Mode, number>> },
): RenderedPrompt[] {
  if (mix.think > 0 || mix.no_think > 0) throw new ModeUnavailable('method.distillation.modes asks for think or no_think, which this model has no switch for; use modes: { plain: 1 }');
  return prompts.map(({ messages, answer, mode }, index) => {
    if (mode !== undefined && mode !== 'plain') throw new ModeUnavailable(`prompt ${index + 1} asks for mode ${mode}, which this model has no switch for; remove "mode" from the line`);
    const ids_T = tokenizer.encode(template.render(messages, { addGenerationPrompt: 'add' }));
    if (ids_T.length === 0) throw new PromptInvalid(`prompt ${index + 1} renders to no token at all; give it some content`);
    return { ids_T, ...(answer === undefined ? {} : { answer }) };
  });
}

/** Hash of the ids and answers of a prompt list, in order. */
export function promptsHash(prompts: readonly RenderedPrompt[]): string {
  const hash = createHash('sha256');
  for (const { ids_T, answer } of prompts) hash.update(`${ids_T.join(',')}|${answer ?? ''}\n`);
  return hash.digest('hex');
}

/** Tokens of the longest; 0 when there is none. */
export function longestPrompt(prompts: readonly RenderedPrompt[]): number {
  return prompts.reduce((most, { ids_T }) => Math.max(most, ids_T.length), 0);
}
