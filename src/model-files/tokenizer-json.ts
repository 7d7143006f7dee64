import { z } from 'zod';
import { TokenizerInvalid } from './errors.js';
import { isObject } from './json-file.js';

/** Far above any vocabulary known; keeps a damaged file from asking for an enormous table. */
const MAX_ID = 2 ** 24;

const addedToken = z.looseObject({ id: z.int().min(0).max(MAX_ID), content: z.string().min(1), special: z.boolean().default(false), single_word: z.literal(false).default(false) });

const tokenizerJson = z.looseObject({
  added_tokens: z.array(addedToken).default([]),
  normalizer: z.looseObject({ type: z.string() }).nullable().default(null),
  pre_tokenizer: z.looseObject({ type: z.string() }).nullable().default(null),
  post_processor: z.looseObject({ type: z.string() }).nullable().default(null),
  decoder: z.looseObject({ type: z.string() }).nullable().default(null),
  model: z.looseObject({
    type: z.literal('BPE').default('BPE'),
    vocab: z.custom<Record<string, number>>(isVocab, 'must map each token to its own id'),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
    dropout: z.null().optional(),
  }),
});

/** tokenizer.json with the parts Limbeck relies on checked; other fields stay as they were. */
export type TokenizerJson = z.infer<typeof tokenizerJson>;
type Part = { readonly type: string; readonly [key: string]: unknown };

/** GPT-2's pattern, which ByteLevel uses unless told not to (tokenizers, `pre_tokenizers/byte_level.rs`). */
const GPT2_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** @throws TokenizerInvalid naming the field that is not as it must be. */
export function checkTokenizerJson(json: Record<string, unknown>, where: string): TokenizerJson {
  const outcome = tokenizerJson.safeParse(json);
  if (outcome.success) return outcome.data;
  const [{ path, message }] = outcome.error.issues;
  throw new TokenizerInvalid(`${where}: ${path.join('.')}: ${message}; Limbeck reads BPE tokenizers`);
}

/**
 * The same tokenizer in words that the JavaScript library reads as the Rust one does: its `Digits` knows ASCII digits only where Rust's means
 * every Unicode number, and its `ByteLevel` pattern has JavaScript's idea of white space. `Split` patterns are translated rightly.
 */
export function asHubReads(json: TokenizerJson): TokenizerJson {
  return { ...json, pre_tokenizer: json.pre_tokenizer === null ? null : sequence(translated(json.pre_tokenizer)) };
}

function translated(part: Part): Part[] {
  if (part.type === 'Sequence') return parts(part.pretokenizers).flatMap(translated);
  if (part.type === 'Digits') return [split(part.individual_digits === true ? '\\p{N}' : '\\p{N}+')];
  if (part.type === 'ByteLevel' && part.use_regex !== false && part.add_prefix_space !== true) return [split(GPT2_PATTERN), { ...part, use_regex: false }];
  return [part];
}

function split(regex: string): Part {
  return { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false };
}

function sequence(pretokenizers: Part[]): Part {
  return { type: 'Sequence', pretokenizers };
}

function parts(value: unknown): Part[] {
  const outcome = z.array(z.looseObject({ type: z.string() })).safeParse(value);
  if (outcome.success) return outcome.data;
  throw new TokenizerInvalid('tokenizer.json: a pre-tokenizer of type Sequence must hold a list pretokenizers');
}

/** Checked by hand: a record schema would drop the token `__proto__`. */
function isVocab(value: unknown): boolean {
  if (!isObject(value)) return false;
  const ids = Object.values(value);
  return ids.every((id) => Number.isInteger(id) && Number(id) >= 0 && Number(id) <= MAX_ID) && new Set(ids).size === ids.length;
}
