import { readFileSync } from 'node:fs';
import type { ModelConfig } from '../../src/model-files/config.js';
import { float32FromBf16 } from '../../src/model-files/floats.js';
import type { NamedTensor } from '../../src/model-files/safetensors.js';
import { buildGguf, type GgufInput, type GgufTensorInput } from './gguf-builder.js';
import { familyTensors } from './tiny-families.js';

/** The vocabulary of `test/golden/generate-gguf.py`, texts, and their ids by the name of the pre-tokenizer. */
export interface GoldenVocabulary {
  /** How many of the first tokens are control tokens. */
  readonly special: number;
  readonly tokens: readonly string[];
  readonly merges: readonly string[];
  readonly texts: readonly string[];
  readonly ids: Readonly<Record<string, readonly (readonly number[])[]>>;
}

export const GOLDEN_VOCABULARY = JSON.parse(readFileSync(new URL('../golden/files/gguf/tokenizers.json', import.meta.url), 'utf8')) as GoldenVocabulary;

/** llama.cpp's names (gguf-py/gguf/tensor_mapping.py). */
const NAMES: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens/, 'token_embd'],
  [/^model\.norm/, 'output_norm'],
  [/^lm_head/, 'output'],
  [/^model\.layers\.(\d+)\.input_layernorm/, 'blk.$1.attn_norm'],
  [/^model\.layers\.(\d+)\.post_attention_layernorm/, 'blk.$1.ffn_norm'],
  [/^model\.layers\.(\d+)\.self_attn\.o_proj/, 'blk.$1.attn_output'],
  [/^model\.layers\.(\d+)\.self_attn\.([qkv])_proj/, 'blk.$1.attn_$2'],
  [/^model\.layers\.(\d+)\.self_attn\.([qk])_norm/, 'blk.$1.attn_$2_norm'],
  [/^model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj/, 'blk.$1.ffn_$2'],
];

/** A tiny model of a family with the golden vocabulary, as llama.cpp's converter writes it: float32, a Llama's q and k rows with pairs side by side. */
export function familyGguf(config: ModelConfig, change: Readonly<Record<string, GgufInput | undefined>> = {}, more: readonly GgufTensorInput[] = []): Uint8Array {
  const metadata: Record<string, GgufInput> = {};
  for (const [key, value] of Object.entries({ ...familyMetadata(config), ...change })) {
    if (value !== undefined) metadata[key] = value;
  }
  return buildGguf(metadata, [...familyTensors(config).map((tensor) => stored(tensor, config)), ...more]);
}

/** float32 tensor of one dimension. */
export function vector(name: string, values: readonly number[]): GgufTensorInput {
  return { name, fastestFirst: [values.length], code: 0, bytes: new Uint8Array(Float32Array.from(values).buffer) };
}

function familyMetadata({ architecture, ...config }: ModelConfig): Record<string, GgufInput> {
  const { tokens, merges, special } = GOLDEN_VOCABULARY;
  return {
    'general.architecture': architecture,
    [`${architecture}.block_count`]: { u32: config.layers },
    [`${architecture}.context_length`]: { u32: config.maxPositions },
    [`${architecture}.embedding_length`]: { u32: config.hiddenSize },
    [`${architecture}.feed_forward_length`]: { u32: config.intermediateSize },
    [`${architecture}.attention.head_count`]: { u32: config.heads },
    [`${architecture}.attention.head_count_kv`]: { u32: config.kvHeads },
    [`${architecture}.attention.key_length`]: { u32: config.headDim },
    [`${architecture}.rope.freq_base`]: { f32: config.ropeTheta },
    [`${architecture}.attention.layer_norm_rms_epsilon`]: { f32: config.rmsNormEps },
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': architecture === 'llama' ? 'llama-bpe' : 'qwen2',
    'tokenizer.ggml.tokens': { texts: tokens },
    'tokenizer.ggml.token_type': { i32s: tokens.map((_token, id) => (id < special ? 3 : 1)) },
    'tokenizer.ggml.merges': { texts: merges },
    'tokenizer.ggml.bos_token_id': { u32: 0 },
    'tokenizer.ggml.eos_token_id': { u32: 1 },
  };
}

function stored({ name, shape, bytes }: NamedTensor, config: ModelConfig): GgufTensorInput {
  const [pattern, short] = NAMES.find(([known]) => known.test(name)) ?? [/^/, 'unknown.'];
  const values = float32FromBf16(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2));
  const isPermuted = config.architecture === 'llama' && /[qk]_proj/.test(name);
  return { name: name.replace(pattern, short), fastestFirst: [...shape].reverse(), code: 0, bytes: new Uint8Array((isPermuted ? sideBySide(values, config) : values).buffer) };
}

/** Row 2j + s of a head is its row s K/2 + j before (`LlamaModel.permute`). */
function sideBySide(values: Float32Array, { headDim: K, hiddenSize: D }: ModelConfig): Float32Array {
  const permuted = new Float32Array(values.length);
  for (let row = 0; row < values.length / D; row++) {
    const inHead = row % K;
    const from = row - inHead + (inHead % 2) * (K / 2) + Math.floor(inHead / 2);
    permuted.set(values.subarray(from * D, (from + 1) * D), row * D);
  }
  return permuted;
}
