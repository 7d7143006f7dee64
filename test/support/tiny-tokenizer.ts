/** Special tokens of the tiny tokenizer; the index is the id, as in SmolLM2-Instruct. */
export const TINY_SPECIAL_TOKENS = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'] as const;

// Byte-level spellings: Ġ is a space. Each product is one further id, so that BPE has something to do.
const MERGES = ['Ġ t', 'h e', 'i n', 'r e', 'Ġt he', 'Ġ a', 'o n', 'Ġ i', 'e r', 'Ġi s', 'a n', 'o r', 'l l'];

/** Ids the tiny tokenizer can produce; a model may have more, never fewer. */
export const TINY_TOKENIZER_SIZE = TINY_SPECIAL_TOKENS.length + 256 + MERGES.length;

/** Turns as `<|im_start|>role\ncontent<|im_end|>\n`, the ChatML form of SmolLM2 and Qwen. */
export const TINY_CHAT_TEMPLATE =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** `tokenizer.json`: byte-level BPE like SmolLM2's (digits one by one, nothing prepended) with ids 3 to 258 for the bytes. */
export function tinyTokenizerJson(): object {
  const tokens = [...TINY_SPECIAL_TOKENS, ...byteSpellings(), ...MERGES.map((merge) => merge.replace(' ', ''))];
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: TINY_SPECIAL_TOKENS.map((content, id) => ({ id, content, special: true, normalized: false, lstrip: false, rstrip: false, single_word: false })),
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Digits', individual_digits: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: MERGES,
    },
  };
}

/** `tokenizer_config.json` with the chat template inside. */
export function tinyTokenizerConfigJson(): object {
  return {
    tokenizer_class: 'GPT2Tokenizer',
    add_prefix_space: false,
    clean_up_tokenization_spaces: false,
    bos_token: '<|im_start|>',
    eos_token: '<|im_end|>',
    pad_token: '<|im_end|>',
    unk_token: '<|endoftext|>',
    model_max_length: 512,
    chat_template: TINY_CHAT_TEMPLATE,
  };
}

// GPT-2's table: printable bytes stand for themselves, the others for the code points from 256 on.
function byteSpellings(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(printable ? byte : next++);
  });
}
