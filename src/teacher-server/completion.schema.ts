import { z } from 'zod';

const id = z.int().min(0);

/** A field of vLLM's that this server does not act on: only the value that changes nothing is taken. */
function only<T extends z.ZodType>(neutral: T): z.ZodOptional<z.ZodNullable<T>> {
  return neutral.nullable().optional();
}

const unsupported = (field: string): { error: string } => ({ error: `\`${field}\` is not supported by this server` });

/**
 * Body of `POST /v1/completions`: the fields of vLLM's CompletionRequest that this server acts on, with vLLM's defaults. Fields that would change
 * the answer and are not acted on are refused unless neutral; any other field is ignored, as vLLM does.
 */
export const CompletionRequest = z.object({
  model: z.string().nullish(),
  prompt: z.union([z.string(), z.array(z.string()), z.array(id), z.array(z.array(id))], {
    error: 'a string, a list of strings, a list of token ids, or a list of lists of token ids',
  }),
  max_tokens: z.int().nullish(),
  n: z.int().nullish(),
  temperature: z.number().nullish(),
  top_p: z.number().nullish(),
  top_k: z.int().nullish(),
  seed: z.int().nullish(),
  stop_token_ids: z.array(id).nullish(),
  ignore_eos: z.boolean().nullish(),
  logprobs: z.int().nullish(),
  prompt_logprobs: z.int().nullish(),
  /** Our own: the first position of the prompt whose log-probs are wanted, 1 by default; those before are null. vLLM ignores it and sends them all. */
  prompt_logprobs_start: z.int().min(1).nullish(),
  return_token_ids: z.boolean().nullish(),
  return_tokens_as_token_ids: z.boolean().nullish(),
  skip_special_tokens: z.boolean().nullish(),
  echo: only(z.literal(false, unsupported('echo=true'))),
  stream: only(z.literal(false, unsupported('stream=true'))),
  stop: only(z.union([z.literal(''), z.array(z.never()).max(0)], unsupported('stop'))),
  suffix: only(z.literal('', unsupported('suffix'))),
  use_beam_search: only(z.literal(false, unsupported('use_beam_search'))),
  min_p: only(z.literal(0, unsupported('min_p'))),
  presence_penalty: only(z.literal(0, unsupported('presence_penalty'))),
  frequency_penalty: only(z.literal(0, unsupported('frequency_penalty'))),
  repetition_penalty: only(z.literal(1, unsupported('repetition_penalty'))),
  min_tokens: only(z.literal(0, unsupported('min_tokens'))),
  logit_bias: only(z.strictObject({}, unsupported('logit_bias'))),
  allowed_token_ids: only(z.never(unsupported('allowed_token_ids'))),
  logprob_token_ids: only(z.never(unsupported('logprob_token_ids'))),
  bad_words: only(z.array(z.never(), unsupported('bad_words')).max(0)),
  truncate_prompt_tokens: only(z.never(unsupported('truncate_prompt_tokens'))),
  prompt_embeds: only(z.never(unsupported('prompt_embeds'))),
  structured_outputs: only(z.never(unsupported('structured_outputs'))),
});
export type CompletionRequest = z.output<typeof CompletionRequest>;
