import { philox4x32 } from '../../src/common/philox.js';
import type { Architecture, ModelConfig, RopeScaling } from '../../src/model-files/config.js';
import { bf16FromFloat32, float32FromBf16 } from '../../src/model-files/floats.js';
import { writeModelDirectory } from '../../src/model-files/model-directory.js';
import { expectedTensors } from '../../src/model-files/parameters.js';
import type { NamedTensor } from '../../src/model-files/safetensors.js';
import { TINY_TOKENIZER_SIZE, tinyTokenizerConfigJson, tinyTokenizerJson } from './tiny-tokenizer.js';

/** Shape of a tiny model. `hidden` is a multiple of `heads` but need not be `heads` x `headDim`; `heads` is a multiple of `kvHeads`; `headDim` is even. */
export interface TinyModelOptions {
  /** Default: llama. */
  readonly architecture?: Architecture;
  /** Default: none. */
  readonly ropeScaling?: RopeScaling;
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

/** Llama 3's stretching with a first length so short that tiny heads have frequencies which stay, which are mixed and which are slowed. */
export const TINY_ROPE_SCALING: RopeScaling = { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 64 };

/** Options for a tiny model of each family that the engines run. */
export const TINY_FAMILIES = {
  llama: {},
  llama3: { ropeScaling: TINY_ROPE_SCALING },
  qwen2: { architecture: 'qwen2' },
  qwen3: { architecture: 'qwen3' },
} as const satisfies Record<string, Partial<TinyModelOptions>>;

/** A tensor under its Hugging Face name, row-major; each value is exactly a bf16. */
export interface TinyTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/**
 * Writes a whole Hugging Face directory: `config.json`, `generation_config.json`, `model.safetensors` (bf16), and tokenizer files unless
 * told otherwise. The same options give the same bytes. `dir` must be new or empty. @returns `dir`.
 */
export async function writeTinyModel(dir: string, options: Partial<TinyModelOptions> = {}): Promise<string> {
  const model = { ...TINY_MODEL, ...options };
  const tensors = tinyTensors(model).map(({ name, shape, values }): NamedTensor => {
    return { name, dtype: 'BF16', shape, bytes: new Uint8Array(bf16FromFloat32(values).buffer) };
  });
  await writeModelDirectory(dir, { config: tinyConfig(model), tensors, extraFiles: tokenizerFiles(model) });
  return dir;
}

/**
 * The weights of such a model. Norms lie about 1, biases about 0, the head's logits have a deviation of about 1.5, so that distributions are neither flat nor
 * certain, and the layers outweigh the embedding, so that a tied model does not just repeat its input.
 */
export function tinyTensors(model: TinyModelOptions): TinyTensor[] {
  return [...expectedTensors(tinyConfig(model))].map(([name, shape], stream) => ({ name, shape, values: tinyValues(name, shape, [model.seed, stream]) }));
}

/** The configuration of such a model. */
export function tinyConfig(model: TinyModelOptions): ModelConfig {
  return {
    architecture: model.architecture ?? 'llama',
    vocabSize: model.vocab,
    hiddenSize: model.hidden,
    intermediateSize: model.intermediate,
    layers: model.layers,
    heads: model.heads,
    kvHeads: model.kvHeads,
    headDim: model.headDim,
    rmsNormEps: 1e-5,
    ropeTheta: 10_000,
    ropeScaling: model.ropeScaling ?? null,
    maxPositions: 512,
    tiedEmbeddings: model.tied,
    bosId: 1,
    eosIds: [TINY_EOS_ID],
    padId: TINY_EOS_ID,
  };
}

function tokenizerFiles({ tokenizer, vocab }: TinyModelOptions): Record<string, string> {
  if (tokenizer === 'none') return {};
  if (vocab < TINY_TOKENIZER_SIZE) throw new Error(`the tiny tokenizer needs a vocabulary of ${TINY_TOKENIZER_SIZE}; the model has ${vocab}`);
  return { 'tokenizer.json': JSON.stringify(tinyTokenizerJson()), 'tokenizer_config.json': JSON.stringify(tinyTokenizerConfigJson()) };
}

function tinyValues(name: string, shape: readonly number[], key: readonly [number, number]): Float32Array {
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
  const mean = name.endsWith('norm.weight') ? 1 : 0;
  const deviation = shape.length === 1 ? spreadOf(name) : gainOf(name) / Math.sqrt(shape[1]);
  for (let i = 0; i < values.length; i++) values[i] = mean + deviation * normal(key, i);
  return float32FromBf16(bf16FromFloat32(values));
}

function spreadOf(name: string): number {
  return name.endsWith('.bias') ? 0.3 : 0.1;
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
