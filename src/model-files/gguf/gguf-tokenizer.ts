import type { GgufFile } from './gguf-file.js';
import { GgufMetadata } from './gguf-metadata.js';
import { vocabularyKind, vocabularyTokens, type VocabularyToken } from './gguf-vocabulary.js';

/**
 * The tokenizer files a GGUF file describes, by name: tokenizer.json, tokenizer_config.json and, where it has a template, chat_template.jinja.
 * Byte-level BPE; control tokens are single special tokens. What a text begins with (Llama 3: its first token) stands in the post-processor, which encoding without special tokens skips.
 * @param maxPositions stated as the longest text.
 * @throws GgufInvalid for another kind of tokenizer, or lists that do not fit each other.
 */
export function tokenizerFiles(file: Pick<GgufFile, 'path' | 'metadata'>, maxPositions: number): Record<string, string> {
  const metadata = new GgufMetadata(file);
  const tokens = vocabularyTokens(metadata);
  const template = metadata.optionalText('tokenizer.chat_template');
  const files: Record<string, string> = {
    'tokenizer.json': toText(tokenizerJson(metadata, tokens)),
    'tokenizer_config.json': toText({ ...tokenizerConfig(metadata, tokens), model_max_length: maxPositions, ...(template === undefined ? {} : { chat_template: template }) }),
  };
  if (template !== undefined) files['chat_template.jinja'] = template;
  return files;
}

function addedTokens(tokens: readonly VocabularyToken[]): { id: number; content: string; special: boolean }[] {
  const asItStands = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  return tokens.filter(({ part }) => part !== 'plain').map(({ id, content, part }) => ({ id, content, special: part === 'special', ...asItStands }));
}

function tokenizerJson(metadata: GgufMetadata, tokens: readonly VocabularyToken[]): object {
  const kind = vocabularyKind(metadata);
  for (const key of ['tokenizer.ggml.add_eos_token', 'tokenizer.ggml.add_space_prefix']) {
    if (metadata.flag(key, 'no')) throw metadata.invalid(`${key} is set; only tokenizers that add no space and no end are read`);
  }
  const vocab = new Map(tokens.map(({ content, id }) => [content, id]));
  const merges = metadata.texts('tokenizer.ggml.merges');
  for (const merge of merges) checkMerge(merge, vocab, metadata);
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(tokens),
    normalizer: kind.normalizer,
    pre_tokenizer: kind.preTokenizer,
    post_processor: metadata.flag('tokenizer.ggml.add_bos_token', kind.addsBos) ? beginningWith(bosToken(metadata, tokens)) : null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null,
      fuse_unk: false, byte_fallback: false, ignore_merges: kind.ignoresMerges, vocab: Object.fromEntries(vocab), merges,
    },
  };
}

function checkMerge(merge: string, vocab: ReadonlyMap<string, number>, metadata: GgufMetadata): void {
  const [left, right, ...rest] = merge.split(' ');
  if (rest.length > 0 || right === undefined || ![left, right, left + right].every((token) => vocab.has(token))) {
    throw metadata.invalid(`the merge ${JSON.stringify(merge)} must be two tokens whose joint is a token`);
  }
}

function bosToken(metadata: GgufMetadata, tokens: readonly VocabularyToken[]): VocabularyToken {
  const bosId = metadata.count('tokenizer.ggml.bos_token_id');
  const bos = tokens.find(({ id }) => id === bosId);
  if (bos?.part !== 'special') throw metadata.invalid(`a text begins with token ${bosId}, which must be a control token`);
  return bos;
}

/** Every text, also the second of a pair, begins with the token. */
function beginningWith({ id, content }: VocabularyToken): object {
  const part = (text: 'A' | 'B', type_id: number): object[] => [{ SpecialToken: { id: content, type_id } }, { Sequence: { id: text, type_id } }];
  return { type: 'TemplateProcessing', single: part('A', 0), pair: [...part('A', 0), ...part('B', 1)], special_tokens: { [content]: { id: content, ids: [id], tokens: [content] } } };
}

/** The template stands here too, because transformers.js and older servers look nowhere else. */
function tokenizerConfig(metadata: GgufMetadata, tokens: readonly VocabularyToken[]): object {
  const named = (name: string): string | null => {
    const named = metadata.optionalCount(`tokenizer.ggml.${name}_token_id`);
    return tokens.find(({ id }) => id === named)?.content ?? null;
  };
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    add_prefix_space: false,
    added_tokens_decoder: Object.fromEntries(addedTokens(tokens).map(({ id, ...token }) => [id, token])),
    bos_token: named('bos'),
    eos_token: named('eos'),
    unk_token: named('unknown'),
    pad_token: named('padding'),
    clean_up_tokenization_spaces: false,
  };
}

function toText(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
