import { hasQkNorm, hasQkvBias, type ModelConfig } from '../../model-files/config.js';
import { rotationFrequencies } from '../../model-files/rotary.js';
import { attention } from './attention.js';
import { add, linear, selectRows } from './linear.js';
import { rmsNorm } from './rms-norm.js';
import { rope } from './rope.js';
import { swiglu } from './swiglu.js';
import type { Matrix, Tape } from './tape.js';

/** Sequences end to end; a part of `PackedBatch`. */
export interface PackedTokens {
  readonly tokens_N: Int32Array;
  readonly cuSeqlens_S1: Int32Array;
}

/** A model's matrices under their Hugging Face names; a norm's weight or a bias is one row. */
export type ParameterMatrices = ReadonlyMap<string, Matrix>;

/** The decoders of Llama, Qwen2 and Qwen3 of Hugging Face transformers in float64. */
export class Decoder {
  constructor(readonly config: ModelConfig, readonly parameters: ParameterMatrices) {}

  /** Logits [R, V] of the asked rows, which are indices into `tokens_N`. */
  logits(tape: Tape, packed: PackedTokens, rows_R: Int32Array): Matrix {
    const positions_N = positionsOf(packed.cuSeqlens_S1);
    let residual = selectRows(tape, this.#weight('model.embed_tokens.weight'), packed.tokens_N);
    for (let layer = 0; layer < this.config.layers; layer++) {
      const prefix = `model.layers.${layer}`;
      residual = add(tape, residual, this.#attend(tape, this.#norm(tape, residual, `${prefix}.input_layernorm`), { prefix, packed, positions_N }));
      residual = add(tape, residual, this.#feedForward(tape, this.#norm(tape, residual, `${prefix}.post_attention_layernorm`), prefix));
    }
    const hidden_RD = selectRows(tape, this.#norm(tape, residual, 'model.norm'), rows_R);
    return linear(tape, hidden_RD, this.#weight(this.config.tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight'));
  }

  #attend(tape: Tape, x: Matrix, at: { prefix: string; packed: PackedTokens; positions_N: Int32Array }): Matrix {
    const { heads, kvHeads } = this.config;
    const named = (name: string): Matrix => this.#weight(`${at.prefix}.self_attn.${name}`);
    const project = (name: string): Matrix => linear(tape, x, named(`${name}_proj.weight`), hasQkvBias(this.config) ? named(`${name}_proj.bias`) : undefined);
    const headsOf = (name: string): Matrix => (hasQkNorm(this.config) ? this.#norm(tape, project(name), `${at.prefix}.self_attn.${name}_norm`) : project(name));
    const rotation = { frequencies: rotationFrequencies(this.config), positions_N: at.positions_N };
    const q = rope(tape, headsOf('q'), rotation);
    const k = rope(tape, headsOf('k'), rotation);
    const mixed = attention(tape, { q, k, v: project('v'), heads, kvHeads, cuSeqlens_S1: at.packed.cuSeqlens_S1 });
    return linear(tape, mixed, named('o_proj.weight'));
  }

  #feedForward(tape: Tape, x: Matrix, prefix: string): Matrix {
    const gate = linear(tape, x, this.#weight(`${prefix}.mlp.gate_proj.weight`));
    const up = linear(tape, x, this.#weight(`${prefix}.mlp.up_proj.weight`));
    return linear(tape, swiglu(tape, gate, up), this.#weight(`${prefix}.mlp.down_proj.weight`));
  }

  #norm(tape: Tape, x: Matrix, name: string): Matrix {
    return rmsNorm(tape, x, { weight: this.#weight(`${name}.weight`), eps: this.config.rmsNormEps });
  }

  #weight(name: string): Matrix {
    const weight = this.parameters.get(name);
    if (!weight) throw new Error(`the model has no tensor ${name}`);
    return weight;
  }
}

function positionsOf(cuSeqlens_S1: Int32Array): Int32Array {
  const positions_N = new Int32Array(cuSeqlens_S1[cuSeqlens_S1.length - 1]);
  for (let s = 1; s < cuSeqlens_S1.length; s++) {
    for (let n = cuSeqlens_S1[s - 1]; n < cuSeqlens_S1[s]; n++) positions_N[n] = n - cuSeqlens_S1[s - 1];
  }
  return positions_N;
}
