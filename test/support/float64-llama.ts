import { ModelDirectory, toFloat32 } from '../../src/model-files/model-directory.js';
import type { ModelConfig, RopeScaling } from '../../src/model-files/config.js';

interface Matrix {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/**
 * A tiny decoder of any family in float64, written from the formulas: pre-norm blocks, half-split RoPE, causal attention with grouped heads, SwiGLU; a bias on q, k and v, norms of
 * their heads and Llama 3's slowed rotations where the model has them. Of the product it shares only the file reader.
 */
export class Float64Llama {
  private constructor(
    private readonly config: ModelConfig,
    private readonly weights: ReadonlyMap<string, Matrix>,
  ) {}

  static async open(dir: string): Promise<Float64Llama> {
    const model = await ModelDirectory.open(dir);
    const weights = new Map<string, Matrix>();
    for (const name of model.names) {
      const tensor = await model.tensor(name);
      weights.set(name, { shape: tensor.shape, values: toFloat32(tensor) });
    }
    await model.close();
    return new Float64Llama(model.config, weights);
  }

  /** Logits at every position, [T][V]. */
  logits(ids: readonly number[]): number[][] {
    const { hiddenSize, layers, tiedEmbeddings } = this.config;
    const embedding = this.matrix('model.embed_tokens').values;
    let hidden_TD = ids.map((id) => Array.from(embedding.subarray(id * hiddenSize, (id + 1) * hiddenSize)));
    for (let layer = 0; layer < layers; layer++) hidden_TD = this.block(`model.layers.${layer}`, hidden_TD);
    const head = this.matrix(tiedEmbeddings ? 'model.embed_tokens' : 'lm_head');
    return hidden_TD.map((x) => multiply(head, this.norm('model.norm', x)));
  }

  private block(name: string, hidden_TD: readonly number[][]): number[][] {
    const normed = hidden_TD.map((x) => this.norm(`${name}.input_layernorm`, x));
    const project = (part: string): number[][] => normed.map((x) => this.linear(`${name}.self_attn.${part}_proj`, x));
    const turnable = (part: string): number[][] => project(part).map((x) => this.headNorm(`${name}.self_attn.${part}_norm`, x));
    const mixed = this.attention({ query: turnable('q'), key: turnable('k'), value: project('v') });
    return hidden_TD.map((x, t) => {
      const middle = sum(x, multiply(this.matrix(`${name}.self_attn.o_proj`), mixed[t]));
      const y = this.norm(`${name}.post_attention_layernorm`, middle);
      const up = multiply(this.matrix(`${name}.mlp.up_proj`), y);
      const gated = multiply(this.matrix(`${name}.mlp.gate_proj`), y).map((gate, i) => (gate / (1 + Math.exp(-gate))) * up[i]);
      return sum(middle, multiply(this.matrix(`${name}.mlp.down_proj`), gated));
    });
  }

  private attention(parts: { readonly query: number[][]; readonly key: number[][]; readonly value: number[][] }): number[][] {
    const { headDim: K, heads, kvHeads } = this.config;
    const part = (x: readonly number[], head: number): number[] => x.slice(head * K, (head + 1) * K);
    return parts.query.map((row, t) =>
      Array.from({ length: heads }, (_, head) => {
        const shared = Math.floor(head / (heads / kvHeads));
        const query = this.rotate(part(row, head), t);
        const scores = parts.key.slice(0, t + 1).map((key, s) => dot(query, this.rotate(part(key, shared), s)) / Math.sqrt(K));
        const norm = logSumExp(scores);
        return Array.from({ length: K }, (_, i) => scores.reduce((total, score, s) => total + Math.exp(score - norm) * parts.value[s][shared * K + i], 0));
      }).flat(),
    );
  }

  private rotate(x: readonly number[], position: number): number[] {
    const half = x.length / 2;
    return x.map((value, i) => {
      const angle = position * this.frequency(i % half);
      return i < half ? value * Math.cos(angle) - x[i + half] * Math.sin(angle) : value * Math.cos(angle) + x[i - half] * Math.sin(angle);
    });
  }

  /** Radians a position of pair i. */
  private frequency(i: number): number {
    const { ropeTheta, headDim, ropeScaling } = this.config;
    const frequency = ropeTheta ** ((-2 * i) / headDim);
    return ropeScaling ? slowed(frequency, ropeScaling) : frequency;
  }

  private linear(module: string, x: readonly number[]): number[] {
    const bias = this.weights.get(`${module}.bias`)?.values;
    return multiply(this.matrix(module), x).map((value, i) => value + (bias?.[i] ?? 0));
  }

  /** Each head by itself, all with the same weights; as they are in a model without. */
  private headNorm(module: string, x: readonly number[]): number[] {
    if (!this.weights.has(`${module}.weight`)) return [...x];
    const { headDim: K } = this.config;
    return Array.from({ length: x.length / K }, (_, head) => this.norm(module, x.slice(head * K, (head + 1) * K))).flat();
  }

  private norm(name: string, x: readonly number[]): number[] {
    const { values } = this.matrix(name);
    const scale = 1 / Math.sqrt(dot(x, x) / x.length + this.config.rmsNormEps);
    return x.map((value, i) => value * scale * values[i]);
  }

  private matrix(module: string): Matrix {
    const found = this.weights.get(`${module}.weight`);
    if (!found) throw new Error(`the model has no ${module}.weight`);
    return found;
  }
}

/** `rope_type` "llama3" of transformers, by wave length as it is written there. */
function slowed(frequency: number, { factor, lowFreqFactor, highFreqFactor, originalMaxPositions }: RopeScaling): number {
  const waveLength = (2 * Math.PI) / frequency;
  if (waveLength < originalMaxPositions / highFreqFactor) return frequency;
  if (waveLength > originalMaxPositions / lowFreqFactor) return frequency / factor;
  const smooth = (originalMaxPositions / waveLength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

/** log sum exp in float64. */
export function logSumExp(logits: readonly number[]): number {
  const max = Math.max(...logits);
  return max + Math.log(logits.reduce((total, logit) => total + Math.exp(logit - max), 0));
}

function multiply({ shape: [rows, columns], values }: Matrix, x: readonly number[]): number[] {
  return Array.from({ length: rows }, (_, row) => {
    let total = 0;
    for (let column = 0; column < columns; column++) total += values[row * columns + column] * x[column];
    return total;
  });
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((total, value, i) => total + value * b[i], 0);
}

function sum(a: readonly number[], b: readonly number[]): number[] {
  return a.map((value, i) => value + b[i]);
}
