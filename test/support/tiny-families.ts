import { philox4x32 } from '../../src/common/philox.js';
import type { ModelConfig } from '../../src/model-files/config.js';
import { bf16FromFloat32 } from '../../src/model-files/floats.js';
import { writeModelDirectory } from '../../src/model-files/model-directory.js';
import { expectedTensors } from '../../src/model-files/parameters.js';
import type { NamedTensor } from '../../src/model-files/safetensors.js';

const SHAPE = {
  vocabSize: 71, hiddenSize: 24, intermediateSize: 36, layers: 2, heads: 4, kvHeads: 2, headDim: 12,
  rmsNormEps: 1e-5, ropeTheta: 10_000, ropeScaling: null, maxPositions: 512, bosId: 1, eosIds: [2], padId: 2,
};

/** A tiny model of each family beside the plain Llama, tied and untied; each has more head columns than hidden ones. The slowed rotations have kept, middle and stretched pairs. */
export const TINY_FAMILIES: Readonly<Record<string, ModelConfig>> = {
  'Llama 3, slowed rotations, untied': {
    ...SHAPE, architecture: 'llama', tiedEmbeddings: false, ropeScaling: { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 64 },
  },
  'Qwen2, biases, tied': { ...SHAPE, architecture: 'qwen2', tiedEmbeddings: true },
  'Qwen2, biases, untied': { ...SHAPE, architecture: 'qwen2', tiedEmbeddings: false, heads: 6, kvHeads: 3, headDim: 10, hiddenSize: 20, intermediateSize: 27 },
  'Qwen3, norms of heads, tied': { ...SHAPE, architecture: 'qwen3', tiedEmbeddings: true },
  'Qwen3, norms of heads, untied': { ...SHAPE, architecture: 'qwen3', tiedEmbeddings: false, heads: 5, kvHeads: 1, headDim: 6, hiddenSize: 15 },
};

/** Writes such a model, bf16, without a tokenizer. No norm's weights are 1 and no bias is 0, so that none can be left out unseen. `dir` must be new or empty. @returns `dir`. */
export async function writeTinyFamily(dir: string, config: ModelConfig, extraFiles: Readonly<Record<string, string>> = {}): Promise<string> {
  await writeModelDirectory(dir, { config, tensors: familyTensors(config), extraFiles });
  return dir;
}

/** Its weights; as in any trained model the layers outweigh the embedding. */
export function familyTensors(config: ModelConfig): NamedTensor[] {
  return [...expectedTensors(config)].map(([name, shape], stream) => {
    const values = Float32Array.from({ length: shape.reduce((product, size) => product * size, 1) }, (_, i) => weight(name, shape, normal(stream, i)));
    return { name, dtype: 'BF16', shape, bytes: new Uint8Array(bf16FromFloat32(values).buffer) };
  });
}

function weight(name: string, shape: readonly number[], noise: number): number {
  if (name.endsWith('.bias')) return 0.7 * noise;
  if (shape.length === 1) return 1.2 + 0.3 * noise;
  const gain = /embed_tokens|lm_head/.test(name) ? 1.5 : /o_proj|down_proj/.test(name) ? 2.5 : 1;
  return (gain * noise) / Math.sqrt(shape[1]);
}

// Box-Muller.
function normal(stream: number, index: number): number {
  const [first, second] = philox4x32([11, stream], [index, 0, 0, 0]);
  return Math.sqrt(-2 * Math.log((first + 1) / 2 ** 32)) * Math.cos((2 * Math.PI * second) / 2 ** 32);
}
