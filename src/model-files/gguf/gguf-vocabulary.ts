import type { GgufMetadata } from './gguf-metadata.js';

/** Codes of `tokenizer.ggml.token_type` (llama.h, `llama_token_type`). */
const CONTROL = 3;
const USER_DEFINED = 4;
/** The converter's filling for ids that no token has. */
const UNUSED = 5;

/** What `tokenizer.ggml.pre` stands for; the parts are those of the publishers' own tokenizer.json. */
export interface VocabularyKind {
  readonly preTokenizer: object;
  readonly normalizer: object | null;
  /** A word that is a token is taken whole, whatever the merges make of it. */
  readonly ignoresMerges: boolean;
  /** Whether a text begins with the token of `bos_token_id` where the file does not say. */
  readonly addsBos: 'yes' | 'no';
  /** Control tokens that end a turn or a text. */
  readonly ends: readonly string[];
}

const BYTES = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };

/** GPT-4's pattern, which differs from family to family in how many digits go together. */
function words(digits: string): object {
  const regex = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
  return { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false }, BYTES] };
}

/** Each digit alone, then GPT-2's pattern over bytes. */
const SMOLLM: VocabularyKind = {
  preTokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, { ...BYTES, use_regex: true }] },
  normalizer: null,
  ignoresMerges: false,
  addsBos: 'no',
  ends: [],
};
const LLAMA3: VocabularyKind = { preTokenizer: words('\\p{N}{1,3}'), normalizer: null, ignoresMerges: true, addsBos: 'yes', ends: ['<|end_of_text|>', '<|eom_id|>', '<|eot_id|>'] };
const QWEN2: VocabularyKind = { preTokenizer: words('\\p{N}'), normalizer: { type: 'NFC' }, ignoresMerges: false, addsBos: 'no', ends: ['<|endoftext|>', '<|im_end|>'] };

/** By GGUF's name (llama.cpp, llama-vocab.cpp: `tokenizer_pre`). Qwen3 has Qwen2's. */
const KINDS: ReadonlyMap<string, VocabularyKind> = new Map([
  ['smollm', SMOLLM],
  ['llama-bpe', LLAMA3],
  ['llama3', LLAMA3],
  ['llama-v3', LLAMA3],
  ['qwen2', QWEN2],
]);

/** A token of a vocabulary. `part`: what merges make, or something that stands in a text as itself; special ones are left out of plain text. */
export interface VocabularyToken {
  readonly id: number;
  readonly content: string;
  readonly part: 'plain' | 'added' | 'special';
}

/** @throws GgufInvalid unless it is byte-level BPE of a known kind. */
export function vocabularyKind(metadata: GgufMetadata): VocabularyKind {
  const model = metadata.text('tokenizer.ggml.model');
  if (model !== 'gpt2') throw metadata.invalid(`tokenizer.ggml.model is "${model}"; "gpt2", byte-level BPE, is read`);
  const pre = metadata.text('tokenizer.ggml.pre');
  const kind = KINDS.get(pre);
  if (kind === undefined) throw metadata.invalid(`tokenizer.ggml.pre is "${pre}"; read are: ${[...KINDS.keys()].join(', ')}`);
  return kind;
}

/** Its tokens by ascending id; ids that only fill the vocabulary up have none. @throws GgufInvalid when lists do not fit each other or a token stands twice. */
export function vocabularyTokens(metadata: GgufMetadata): VocabularyToken[] {
  const contents = metadata.texts('tokenizer.ggml.tokens');
  const types = metadata.numbers('tokenizer.ggml.token_type');
  if (types.length !== contents.length) throw metadata.invalid(`tokenizer.ggml.token_type has ${types.length} entries for ${contents.length} tokens`);
  if (new Set(contents).size !== contents.length) throw metadata.invalid('tokenizer.ggml.tokens holds a token twice');
  const tokens = contents.flatMap((content, id) => (types[id] === UNUSED ? [] : [{ id, content, part: partOf(types[id]) }]));
  const empty = tokens.find(({ content, part }) => part !== 'plain' && content === '');
  if (empty !== undefined) throw metadata.invalid(`token ${empty.id} is a control or user-defined token without text`);
  return tokens;
}

/** Ids that end a completion, ascending. @throws GgufInvalid */
export function endTokens(metadata: GgufMetadata): number[] {
  const { ends } = vocabularyKind(metadata);
  const stated = ['eot', 'eom'].map((name) => metadata.optionalCount(`tokenizer.ggml.${name}_token_id`)).filter((id) => id !== undefined);
  const known = vocabularyTokens(metadata).filter(({ content, part }) => part === 'special' && ends.includes(content)).map(({ id }) => id);
  return [...new Set([metadata.count('tokenizer.ggml.eos_token_id'), ...stated, ...known])].sort((a, b) => a - b);
}

function partOf(type: number): VocabularyToken['part'] {
  if (type === CONTROL) return 'special';
  return type === USER_DEFINED ? 'added' : 'plain';
}
