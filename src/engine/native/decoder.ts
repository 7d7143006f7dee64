import type { Tensor } from '../../../kernels/binding/kernels.js';
import type { Activation, HeadGeometry, Operations } from './operations.js';
import type { DecoderParameters } from './parameters.js';

/** N rows to run through the decoder, and how each layer mixes them along time. */
export interface Pass {
  readonly rows: number;
  /** i32 [N] each. */
  readonly tokens_N: Tensor;
  readonly positions_N: Tensor;
  /** Turns a layer's finished q|k|v rows, bf16 [N, C], into attention's output, bf16 [N, Hq K], by the operations that it is given. */
  readonly mix: (ops: Operations, layer: number, qkv: Activation) => Activation;
  /** Awaited between layers: the event loop turns, and an abort may throw. */
  readonly breathe?: () => Promise<void>;
}

/** What of the model's configuration shapes the computation. */
export interface DecoderShape extends HeadGeometry {
  readonly rmsNormEps: number;
}

/** Weights and the configuration they were made for. */
export interface DecoderModel {
  readonly parameters: DecoderParameters;
  readonly config: DecoderShape;
}

/**
 * The decoder of the Llama family: pre-norm blocks of rotary grouped-query attention and SwiGLU on a float32 residual stream (Touvron et al. 2023), where the model
 * has them with a bias on q, k and v (Qwen2) and a norm of each q and k head (Qwen3). What a block adds to the stream comes from its last product in
 * float32: rounding it to bf16 first would put an error into the stream that no layer takes out again.
 * @returns the hidden states after the final norm, bf16 [N, D].
 */
export async function decode(ops: Operations, { parameters, config }: DecoderModel, pass: Pass): Promise<Activation> {
  const { rows, positions_N } = pass;
  const eps = config.rmsNormEps;
  const stream = ops.embedding(pass.tokens_N, parameters.embedding, rows);
  let delta: Activation | undefined;
  for (const [index, layer] of parameters.layers.entries()) {
    const norms = layer.qNorm && layer.kNorm && { q: layer.qNorm, k: layer.kNorm, eps };
    const inner = (within: Operations, x: Activation): Activation => {
      const qkv = within.linear(x, layer.qkv, { rows, dtype: 'bf16' });
      const finished = within.rope(qkv, { positions_N, invFreq: parameters.invFreq, geometry: config, rows, bias: layer.qkvBias, norms });
      const mixed = within.linear(pass.mix(within, index, finished), layer.out, { rows, dtype: 'f32' });
      return within.gatedUnit(within.addAndNorm(stream, mixed, { weight: layer.feedForwardNorm, eps, rows }), layer.gateUp, rows);
    };
    delta = ops.layer(stream, ops.addAndNorm(stream, delta, { weight: layer.attentionNorm, eps, rows }), { inner, weight: layer.down, rows });
    await pass.breathe?.();
  }
  return ops.addAndNorm(stream, delta, { weight: parameters.norm, eps, rows });
}
