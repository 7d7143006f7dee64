import { z } from 'zod';

const unsupportedKwargs = { error: '`chat_template_kwargs` is not supported by this server' };

/** Body of `POST /tokenize`: a text, or a chat to be rendered by the model's template. Nothing is put before the ids of either. */
export const TokenizeRequest = z.union(
  [
    z.object({
      model: z.string().nullish(),
      messages: z.array(z.object({ role: z.enum(['system', 'user', 'assistant']), content: z.string() })).min(1),
      add_generation_prompt: z.boolean().default(true),
      chat_template_kwargs: z.strictObject({}, unsupportedKwargs).nullish(),
      return_token_strs: z.boolean().nullish(),
    }),
    z.object({ model: z.string().nullish(), prompt: z.string(), return_token_strs: z.boolean().nullish() }),
  ],
  { error: 'a `prompt` (string) or `messages` (list of {role, content}) is needed' },
);
export type TokenizeRequest = z.output<typeof TokenizeRequest>;

/** Body of `POST /detokenize`. */
export const DetokenizeRequest = z.object({ model: z.string().nullish(), tokens: z.array(z.int().min(0)) });
export type DetokenizeRequest = z.output<typeof DetokenizeRequest>;
