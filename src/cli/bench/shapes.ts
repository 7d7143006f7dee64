import type { ModelConfig } from '../../model-files/config.js';
import { writeModelDirectory } from '../../model-files/model-directory.js';
import { expectedTensors } from '../../model-files/parameters.js';

/** What the shapes share. Ids that end or pad do not matter to a benchmark. */
const COMMON = { ropeScaling: null, tiedEmbeddings: true, bosId: 1, eosIds: [2], padId: 2 } as const;
const SMOLLM2 = { ...COMMON, architecture: 'llama', vocabSize: 49152, headDim: 64, rmsNormEps: 1e-5, ropeTheta: 100000, maxPositions: 8192 } as const;

/** The students that are measured, by the name of the model whose configuration they have. */
export const SHAPES = {
  'smollm2-135m': { ...SMOLLM2, hiddenSize: 576, intermediateSize: 1536, layers: 30, heads: 9, kvHeads: 3 },
  'smollm2-360m': { ...SMOLLM2, hiddenSize: 960, intermediateSize: 2560, layers: 32, heads: 15, kvHeads: 5 },
  'qwen3-0.6b': {
    ...COMMON, architecture: 'qwen3', vocabSize: 151936, hiddenSize: 1024, intermediateSize: 3072, layers: 28, heads: 16, kvHeads: 8, headDim: 128, rmsNormEps: 1e-6,
    ropeTheta: 1000000, maxPositions: 40960,
  },
  /** Of no model: to see in seconds that every measurement runs. */
  trial: { ...SMOLLM2, vocabSize: 512, hiddenSize: 64, intermediateSize: 128, layers: 2, heads: 4, kvHeads: 2, headDim: 16 },
} as const satisfies Record<string, ModelConfig>;

export type ShapeName = keyof typeof SHAPES;

/**
 * Writes a Hugging Face directory of such a shape with random bf16 weights, which are a function of the shape alone: uniform, of the deviation that a trained
 * model's have (1/sqrt(fan in)); norms are 1 and biases 0. Has no tokenizer. `dir` must be new or empty. @returns `dir`
 */
export async function writeRandomModel(config: ModelConfig, dir: string): Promise<string> {
  const random = uniformBf16(1);
  const tensors = [...expectedTensors(config)].map(([name, shape]) => ({
    name,
    dtype: 'BF16' as const,
    shape,
    read: () => {
      const values = new Uint16Array(shape.reduce((product, size) => product * size, 1));
      if (shape.length === 2) random(values, Math.sqrt(3 / shape[1]));
      else if (name.endsWith('.weight')) values.fill(0x3f80); // 1
      return Promise.resolve(new Uint8Array(values.buffer));
    },
  }));
  await writeModelDirectory(dir, { config, tensors });
  return dir;
}

// Marsaglia's xorshift32: fast enough for half a billion weights, and good enough for a benchmark.
function uniformBf16(seed: number): (values: Uint16Array, bound: number) => void {
  let state = seed;
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  return (values, bound) => {
    const scale = bound / 2 ** 31;
    for (let i = 0; i < values.length; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      float[0] = state * scale;
      values[i] = bits[0] >>> 16;
    }
  };
}
