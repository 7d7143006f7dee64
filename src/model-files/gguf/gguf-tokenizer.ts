import { GgufInvalid } from '../errors.js';
import type { GgufFile } from './gguf-file.js';
import { GgufMetadata } from './gguf-metadata.js';

/** Codes of `tokenizer.ggml.token_type` (llama.h, `llama_token_type`). */
const CONTROL = 3;
const USER_DEFINED = 4;

/**
 * Pre-tokenizers by GGUF's name. `smollm`: each digit alone, then GPT-2's pattern over bytes (llama.cpp, llama-vocab.cpp,
 * LLAMA_VOCAB_PRE_TYPE_SMOLLM; the same as SmolLM2's own tokenizer.json).
 */
const PRE_TOKENIZERS: ReadonlyMap<string, object> = new Map([
  [
    'smollm',
    {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Digits', individual_digits: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
  ],
]);

/**
 * The tokenizer files a GGUF file describes, by name: tokenizer.json, tokenizer_config.json and, where it has a template, chat_template.jinja.
 * Byte-level BPE; control tokens are single special tokens; nothing is put before a text.
 * @throws GgufInvalid for another kind of tokenizer, or lists that do not fit each other.
 */
export function tokenizerFiles(file: Pick<GgufFile, 'path' | 'metadata'>): Record<string, string> {
  const metadata = new GgufMetadata(file);
  const added = addedTokens(metadata, file.path);
  const template = metadata.optionalText('tokenizer.chat_template');
  const files: Record<string, string> = {
    'tokenizer.json': toText(tokenizerJson(metadata, added, file.path)),
    'tokenizer_config.json': toText(tokenizerConfig(metadata, added, template)),
  };
  if (template !== undefined) files['chat_template.jinja'] = template;
  return files;
}

type AddedToken = { id: number; content: string; special: boolean; single_word: false; lstrip: false; rstrip: false; normalized: false };

function addedTokens(metadata: GgufMetadata, path: string): AddedToken[] {
  const tokens = metadata.texts('tokenizer.ggml.tokens');
  const types = metadata.numbers('tokenizer.ggml.token_type');
  if (types.length !== tokens.length) throw new GgufInvalid(`${path}: tokenizer.ggml.token_type has ${types.length} entries for ${tokens.length} tokens`);
  return tokens.flatMap((content, id) => {
    if (types[id] !== CONTROL && types[id] !== USER_DEFINED) return [];
    return [{ id, content, special: types[id] === CONTROL, single_word: false, lstrip: false, rstrip: false, normalized: false }];
  });
}

function tokenizerJson(metadata: GgufMetadata, added: readonly AddedToken[], path: string): object {
  const kind = metadata.text('tokenizer.ggml.model');
  if (kind !== 'gpt2') throw new GgufInvalid(`${path}: tokenizer.ggml.model is "${kind}"; "gpt2", byte-level BPE, is read`);
  const pre = metadata.text('tokenizer.ggml.pre');
  const preTokenizer = PRE_TOKENIZERS.get(pre);
  if (preTokenizer === undefined) throw new GgufInvalid(`${path}: tokenizer.ggml.pre is "${pre}"; read are: ${[...PRE_TOKENIZERS.keys()].join(', ')}`);
  for (const key of ['tokenizer.ggml.add_bos_token', 'tokenizer.ggml.add_eos_token', 'tokenizer.ggml.add_space_prefix']) {
    if (metadata.flag(key, 'no')) throw new GgufInvalid(`${path}: ${key} is set; only tokenizers that add nothing to a text are read`);
  }
  const vocab = new Map(metadata.texts('tokenizer.ggml.tokens').map((token, id) => [token, id]));
  if (vocab.size !== metadata.texts('tokenizer.ggml.tokens').length) throw new GgufInvalid(`${path}: tokenizer.ggml.tokens holds a token twice`);
  const merges = metadata.texts('tokenizer.ggml.merges');
  for (const merge of merges) checkMerge(merge, vocab, path);
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: preTokenizer,
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null,
      fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab: Object.fromEntries(vocab), merges,
    },
  };
}

function checkMerge(merge: string, vocab: ReadonlyMap<string, number>, path: string): void {
  const [left, right, ...rest] = merge.split(' ');
  if (rest.length > 0 || right === undefined || ![left, right, left + right].every((token) => vocab.has(token))) {
    throw new GgufInvalid(`${path}: the merge ${JSON.stringify(merge)} must be two tokens whose joint is a token`);
  }
}

/** The template stands here too, because transformers.js and older servers look nowhere else. */
function tokenizerConfig(metadata: GgufMetadata, added: readonly AddedToken[], template: string | undefined): object {
  const tokens = metadata.texts('tokenizer.ggml.tokens');
  const named = (key: string): string | null => tokens[metadata.optionalCount(key) ?? -1] ?? null;
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    add_prefix_space: false,
    added_tokens_decoder: Object.fromEntries(added.map(({ id, ...token }) => [id, token])),
    bos_token: named('tokenizer.ggml.bos_token_id'),
    eos_token: named('tokenizer.ggml.eos_token_id'),
    unk_token: named('tokenizer.ggml.unknown_token_id'),
    pad_token: named('tokenizer.ggml.padding_token_id'),
    clean_up_tokenization_spaces: false,
    model_max_length: metadata.count('llama.context_length'),
    ...(template === undefined ? {} : { chat_template: template }),
  };
}

function toText(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
