import { TINY_CHAT_TEMPLATE, TINY_SPECIAL_TOKENS } from './tiny-tokenizer.js';
import { buildGguf, type GgufInput, type GgufTensorInput } from './gguf-builder.js';

/** Sizes of the tiny GGUF model: 6 heads of width 6 over 3 key/value heads, one layer. */
export const GGUF_LLAMA = { hidden: 32, intermediate: 64, heads: 6, kvHeads: 3, headDim: 6 };

/** Spellings of all bytes in GPT-2's order of ids, then merges that would join digits if the pre-tokenizer let them. */
const MERGES = ['2 0', '2 4', '20 24', 'h i', 'Ġ hi'];
const TOKENS = [...TINY_SPECIAL_TOKENS, ...byteSpellings(), ...MERGES.map((merge) => merge.replace(' ', ''))];

/** Metadata of the tiny model, as llama.cpp's converter writes SmolLM2's. */
export const GGUF_METADATA: Readonly<Record<string, GgufInput>> = {
  'general.architecture': 'llama',
  'general.name': 'Tiny',
  'general.license': 'apache-2.0',
  'llama.block_count': { u32: 1 },
  'llama.context_length': { u32: 128 },
  'llama.embedding_length': { u32: GGUF_LLAMA.hidden },
  'llama.feed_forward_length': { u32: GGUF_LLAMA.intermediate },
  'llama.attention.head_count': { u32: GGUF_LLAMA.heads },
  'llama.attention.head_count_kv': { u32: GGUF_LLAMA.kvHeads },
  'llama.attention.key_length': { u32: GGUF_LLAMA.headDim },
  'llama.attention.value_length': { u32: GGUF_LLAMA.headDim },
  'llama.rope.dimension_count': { u32: GGUF_LLAMA.headDim },
  'llama.rope.freq_base': { f32: 100000 },
  'llama.attention.layer_norm_rms_epsilon': { f32: 1e-5 },
  'tokenizer.ggml.model': 'gpt2',
  'tokenizer.ggml.pre': 'smollm',
  'tokenizer.ggml.add_bos_token': false,
  'tokenizer.ggml.add_space_prefix': false,
  'tokenizer.ggml.tokens': { texts: TOKENS },
  'tokenizer.ggml.token_type': { i32s: TOKENS.map((_token, id) => (id < TINY_SPECIAL_TOKENS.length ? 3 : 1)) },
  'tokenizer.ggml.merges': { texts: MERGES },
  'tokenizer.ggml.bos_token_id': { u32: 1 },
  'tokenizer.ggml.eos_token_id': { u32: 2 },
  'tokenizer.ggml.padding_token_id': { u32: 2 },
  'tokenizer.chat_template': TINY_CHAT_TEMPLATE,
};

/** float32 tensors of the tiny model; row r of every matrix holds r in its first column, so that rows can be told apart. The head is tied. */
export function ggufTensors(): GgufTensorInput[] {
  const { hidden, intermediate, heads, kvHeads, headDim } = GGUF_LLAMA;
  return [
    matrix('token_embd.weight', TOKENS.length, hidden),
    matrix('blk.0.attn_norm.weight', 1, hidden),
    matrix('blk.0.attn_q.weight', heads * headDim, hidden),
    matrix('blk.0.attn_k.weight', kvHeads * headDim, hidden),
    matrix('blk.0.attn_v.weight', kvHeads * headDim, hidden),
    matrix('blk.0.attn_output.weight', hidden, heads * headDim),
    matrix('blk.0.ffn_norm.weight', 1, hidden),
    matrix('blk.0.ffn_gate.weight', intermediate, hidden),
    matrix('blk.0.ffn_up.weight', intermediate, hidden),
    matrix('blk.0.ffn_down.weight', hidden, intermediate),
    matrix('output_norm.weight', 1, hidden),
  ];
}

/** The tiny model as a file, with changes; an undefined value removes a key. */
export function tinyGguf(change: Readonly<Record<string, GgufInput | undefined>> = {}, tensors: readonly GgufTensorInput[] = ggufTensors()): Uint8Array {
  const metadata: Record<string, GgufInput> = {};
  for (const [key, value] of Object.entries({ ...GGUF_METADATA, ...change })) {
    if (value !== undefined) metadata[key] = value;
  }
  return buildGguf(metadata, tensors);
}

/** A float32 matrix; a single row becomes a vector. */
export function matrix(name: string, rows: number, columns: number): GgufTensorInput {
  const values = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) values[row * columns] = row;
  return { name, fastestFirst: rows === 1 ? [columns] : [columns, rows], code: 0, bytes: new Uint8Array(values.buffer) };
}

/** How GPT-2's byte-level BPE spells the 256 bytes: printable Latin-1 as itself, the rest from U+0100 on. */
function byteSpellings(): string[] {
  const isItself = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  const others = Array.from({ length: 256 }, (_unused, byte) => byte).filter((byte) => !isItself(byte));
  return Array.from({ length: 256 }, (_unused, byte) => String.fromCharCode(isItself(byte) ? byte : 256 + others.indexOf(byte)));
}
