import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { philox4x32 } from '../../src/common/philox.js';
import { TINY_TOKENIZER_SIZE, tinyTokenizerConfigJson, tinyTokenizerJson } from './tiny-tokenizer.js';

/** Shape of a tiny Llama. `hidden` is a multiple of `heads` but need not be `heads` x `headDim`; `heads` is a multiple of `kvHeads`; `headDim` is even. */
export interface TinyModelOptions {
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocab: number;
  readonly tied: boolean;
  /** Integer in [0, 2^32): the weights are a function of it and the shape. */
  readonly seed: number;
  /** `byte_bpe` (the default) writes tokenizer and chat template and needs a vocabulary of `TINY_TOKENIZER_SIZE` at least. */
  readonly tokenizer?: 'byte_bpe' | 'none';
}

/** A small model with every kind of oddity: grouped heads, and more head columns than hidden columns. */
export const TINY_MODEL: TinyModelOptions = {
  layers: 2, hidden: 32, intermediate: 48, heads: 4, kvHeads: 2, headDim: 12, vocab: 288, tied: true, seed: 1,
};

export const TINY_EOS_ID = 2;

/** A tensor under its Hugging Face name, row-major. */
export interface TinyTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/**
 * Writes a whole Hugging Face Llama directory: `config.json`, `generation_config.json`, `model.safetensors` (bf16), and tokenizer files unless
 * told otherwise. The same options give the same bytes. Creates `dir`. @returns `dir`.
 */
export async function writeTinyModel(dir: string, options: Partial<TinyModelOptions> = {}): Promise<string> {
  const model = { ...TINY_MODEL, ...options };
  await mkdir(dir, { recursive: true });
  await writeJson(join(dir, 'config.json'), tinyConfigJson(model));
  await writeJson(join(dir, 'generation_config.json'), { bos_token_id: 1, eos_token_id: TINY_EOS_ID, pad_token_id: TINY_EOS_ID });
  await writeFile(join(dir, 'model.safetensors'), safetensorsBytes(tinyTensors(model)));
  if (model.tokenizer === 'none') return dir;
  if (model.vocab < TINY_TOKENIZER_SIZE) throw new Error(`the tiny tokenizer needs a vocabulary of ${TINY_TOKENIZER_SIZE}; the model has ${model.vocab}`);
  await writeJson(join(dir, 'tokenizer.json'), tinyTokenizerJson());
  await writeJson(join(dir, 'tokenizer_config.json'), tinyTokenizerConfigJson());
  return dir;
}

/**
 * The weights of such a model, each value exactly a bf16. Norms lie about 1, the head's logits have a deviation of about 1.5, so that distributions are
 * neither flat nor certain, and the layers outweigh the embedding, so that a tied model does not just repeat its input.
 */
export function tinyTensors(model: TinyModelOptions): TinyTensor[] {
  const { layers, hidden: D, intermediate: F, heads, kvHeads, headDim: K, vocab: V } = model;
  const shapes: [string, ...number[]][] = [['model.embed_tokens.weight', V, D]];
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}`;
    shapes.push(
      [`${prefix}.input_layernorm.weight`, D],
      [`${prefix}.self_attn.q_proj.weight`, heads * K, D],
      [`${prefix}.self_attn.k_proj.weight`, kvHeads * K, D],
      [`${prefix}.self_attn.v_proj.weight`, kvHeads * K, D],
      [`${prefix}.self_attn.o_proj.weight`, D, heads * K],
      [`${prefix}.post_attention_layernorm.weight`, D],
      [`${prefix}.mlp.gate_proj.weight`, F, D],
      [`${prefix}.mlp.up_proj.weight`, F, D],
      [`${prefix}.mlp.down_proj.weight`, D, F],
    );
  }
  shapes.push(['model.norm.weight', D]);
  if (!model.tied) shapes.push(['lm_head.weight', V, D]);
  return shapes.map(([name, ...shape], stream) => ({ name, shape, values: tinyValues(name, shape, [model.seed, stream]) }));
}

function tinyConfigJson(model: TinyModelOptions): object {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: model.vocab,
    hidden_size: model.hidden,
    intermediate_size: model.intermediate,
    num_hidden_layers: model.layers,
    num_attention_heads: model.heads,
    num_key_value_heads: model.kvHeads,
    head_dim: model.headDim,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    rope_scaling: null,
    max_position_embeddings: 512,
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: model.tied,
    bos_token_id: 1,
    eos_token_id: TINY_EOS_ID,
    pad_token_id: TINY_EOS_ID,
    torch_dtype: 'bfloat16',
  };
}

function tinyValues(name: string, shape: readonly number[], key: readonly [number, number]): Float32Array {
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
  const isNorm = shape.length === 1;
  const deviation = isNorm ? 0.1 : gainOf(name) / Math.sqrt(shape[1]);
  for (let i = 0; i < values.length; i++) values[i] = roundToBf16((isNorm ? 1 : 0) + deviation * normal(key, i));
  return values;
}

function gainOf(name: string): number {
  if (/embed_tokens|lm_head/.test(name)) return 1.5;
  return /o_proj|down_proj/.test(name) ? 2.5 : 1;
}

// Box-Muller.
function normal(key: readonly [number, number], index: number): number {
  const [first, second] = philox4x32(key, [index, 0, 0, 0]);
  return Math.sqrt(-2 * Math.log((first + 1) / 2 ** 32)) * Math.cos((2 * Math.PI * second) / 2 ** 32);
}

function roundToBf16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  bits[0] = ((bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) & 0xffff0000) >>> 0;
  return new Float32Array(bits.buffer)[0];
}

function safetensorsBytes(tensors: readonly TinyTensor[]): Uint8Array {
  let end = 0;
  const header: Record<string, object> = { __metadata__: { format: 'pt' } };
  for (const { name, shape, values } of tensors) header[name] = { dtype: 'BF16', shape, data_offsets: [end, (end += 2 * values.length)] };
  const json = Buffer.from(JSON.stringify(header));
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = Buffer.alloc(8 + padded + end, ' ');
  bytes.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(bytes, 8);
  let at = 8 + padded;
  for (const { values } of tensors) {
    const bits = new Uint32Array(values.buffer);
    for (const word of bits) at = bytes.writeUInt16LE(word >>> 16, at);
  }
  return bytes;
}

async function writeJson(path: string, value: object): Promise<void> {
  await writeFile(path, `${JSON.stringify(value, null, 2)}\n`);
}
