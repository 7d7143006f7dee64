import { randomInt } from 'node:crypto';
import type { Sampling, TokenIds } from '../tokens/sample.js';
import { isGreedy } from './choice.js';
import type { CompletionRequest } from './completion.schema.js';
import type { SequenceAsk } from './sequence.js';
import type { ServedModel } from './served-model.js';
import { RequestRefused } from './teacher-server.errors.js';

/** Limits a request is held to. */
export interface RequestLimits {
  readonly maxLogprobs: number;
  /** Prompts x n. */
  readonly maxSequences: number;
}

const DEFAULT_MAX_TOKENS = 16;
const SEEDS = 2 ** 53;
const RANDOM_SEEDS = 2 ** 48 - 1;

/**
 * Turns a request into sequences: prompt-major, `n` a prompt; prompt log-probs are asked of the first of each prompt only.
 * @throws RequestRefused in vLLM's words where it has them. @throws ModelNotServed
 */
export function planCompletion(request: CompletionRequest, model: ServedModel, limits: RequestLimits): SequenceAsk[] {
  model.checkName(request.model);
  const prompts = promptIds(request.prompt, model);
  const sampling = samplingOf(request, model);
  const n = request.n ?? 1;
  checkCounts({ n, prompts: prompts.length, sampling }, limits);
  checkLogprobs(request, limits.maxLogprobs);
  for (const prompt_T of prompts) checkPrompt(prompt_T, sampling.maxTokens, model);
  const seed = seedOf(request.seed);
  return prompts.flatMap((prompt_T, prompt) =>
    Array.from({ length: n }, (_, sample) => ({
      prompt_T,
      sampling,
      key: { seed, prompt, sample },
      logprobs: request.logprobs ?? undefined,
      promptLogprobs: sample === 0 ? (request.prompt_logprobs ?? undefined) : undefined,
      scoredFrom: request.prompt_logprobs_start ?? 1,
    })),
  );
}

function promptIds(prompt: CompletionRequest['prompt'], model: ServedModel): TokenIds[] {
  if (typeof prompt === 'string') return [model.tokenizer.encode(prompt)];
  if (prompt.length === 0) throw new RequestRefused('Either prompt or prompt_embeds must be provided and non-empty.', 'prompt');
  const isIds = (list: readonly unknown[]): list is readonly number[] => typeof list[0] === 'number';
  if (isIds(prompt)) return [checkIds(prompt, model, 'prompt')];
  return prompt.map((one: string | readonly number[]) => (typeof one === 'string' ? model.tokenizer.encode(one) : checkIds(one, model, 'prompt')));
}

/** @throws RequestRefused naming the first id that the model does not have, before it is stored in 32 bits and becomes another. */
export function checkIds(ids: readonly number[], model: ServedModel, param: string): TokenIds {
  const outside = ids.find((id) => id >= model.config.vocabSize);
  if (outside !== undefined) throw new RequestRefused(`Token id ${outside} is out of vocabulary`, param);
  return Int32Array.from(ids);
}

function samplingOf(request: CompletionRequest, model: ServedModel): Sampling {
  const temperature = request.temperature ?? 1;
  const topP = request.top_p ?? 1;
  const topK = request.top_k ?? 0;
  const maxTokens = request.max_tokens ?? DEFAULT_MAX_TOKENS;
  if (temperature < 0) throw new RequestRefused(`temperature must be non-negative, got ${temperature}.`, 'temperature');
  if (temperature > 2) throw new RequestRefused(`temperature must be in [0, 2], got ${temperature}.`, 'temperature');
  if (!(topP > 0 && topP <= 1)) throw new RequestRefused(`top_p must be in (0, 1], got ${topP}.`, 'top_p');
  if (topK < -1) throw new RequestRefused(`top_k must be 0 (disable), or at least 1, got ${topK}.`, 'top_k');
  if (maxTokens < 1) throw new RequestRefused(`max_tokens must be at least 1, got ${maxTokens}.`, 'max_tokens');
  const isWhole = topK <= 0 || topK >= model.config.vocabSize;
  const eosIds = request.ignore_eos ? [] : model.config.eosIds;
  return { temperature, topP, topK: isWhole ? 0 : topK, maxTokens, stopIds: [...new Set([...eosIds, ...(request.stop_token_ids ?? [])])] };
}

function checkCounts(asked: { readonly n: number; readonly prompts: number; readonly sampling: Sampling }, { maxSequences }: RequestLimits): void {
  const { n, prompts, sampling } = asked;
  if (n < 1) throw new RequestRefused(`n must be at least 1, got ${n}.`, 'n');
  if (n > 1 && isGreedy(sampling)) throw new RequestRefused(`n must be 1 when using greedy sampling, got ${n}.`, 'n');
  if (prompts * n <= maxSequences) return;
  throw new RequestRefused(`prompt list length ${prompts} times n=${n} exceeds the maximum allowed count of ${maxSequences}.`, 'prompt');
}

function checkLogprobs(request: CompletionRequest, largest: number): void {
  const asked = [
    { param: 'logprobs', words: 'sample logprobs', value: request.logprobs },
    { param: 'prompt_logprobs', words: 'prompt logprobs', value: request.prompt_logprobs },
  ];
  for (const { param, words, value } of asked) {
    if (value === null || value === undefined) continue;
    if (value < 0) throw new RequestRefused(`\`${param}\` must be a positive value; this server does not send the whole vocabulary, got ${value}.`, param, 'Bad Request');
    if (value > largest) throw new RequestRefused(`Requested ${words} of ${value}, which is greater than max allowed: ${largest}`, param);
  }
}

function checkPrompt(prompt_T: TokenIds, maxTokens: number, { maxLength }: ServedModel): void {
  if (prompt_T.length === 0) throw new RequestRefused('The decoder prompt cannot be empty', 'prompt');
  if (prompt_T.length + maxTokens <= maxLength) return;
  throw new RequestRefused(
    `This model's maximum context length is ${maxLength} tokens. However, you requested ${maxTokens} output tokens and your prompt contains ${prompt_T.length} input tokens, ` +
      `for a total of ${prompt_T.length + maxTokens} tokens. Please reduce the length of the input prompt or the number of requested output tokens.`,
    'input_tokens',
  );
}

// As in vLLM, -1 is no seed. Other negative ones are folded into the range of the random numbers' keys.
function seedOf(seed: number | null | undefined): number {
  if (seed === null || seed === undefined || seed === -1) return randomInt(RANDOM_SEEDS);
  return seed < 0 ? seed + SEEDS : seed;
}
