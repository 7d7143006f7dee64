import { hasQkNorm, hasQkvBias, type ModelConfig } from '../config.js';
import type { KeyValue } from './cache-names.js';
import type { GraphBuilder, Value } from './graph-builder.js';
import type { DecoderWeights } from './decoder-weights.js';

/** Where the decoder finds its inputs; axes: B batch, S new positions, P past positions, T = P + S, K head width. */
export interface DecoderInputs {
  /** int64 [B, S] */
  readonly inputIds_BS: Value;
  /** int64 [B, S], each below the model's `maxPositions`, padding included. */
  readonly positionIds_BS: Value;
  /** bool [B, 1, S, T], true where a position may look. The CPU kernel refuses a mask that still has to be broadcast over S. */
  readonly mask_B1ST: Value;
  /** float32 [B, Hkv, P, K] of each layer. */
  readonly past: readonly KeyValue[];
}

/**
 * Names to give each layer's cache: `new` holds only the S new positions, `present` all T. Both [B, Hkv, -, K], keys after RoPE.
 */
export interface CacheNames {
  readonly kind: 'new' | 'present';
  readonly layers: readonly KeyValue[];
}

export interface Decoder {
  readonly config: ModelConfig;
  readonly weights: DecoderWeights;
}

/**
 * Adds a decoder of any family: embedding, `layers` blocks, no final norm.
 * @returns the hidden states, float32 [B, S, D].
 */
export function addDecoder(graph: GraphBuilder, decoder: Decoder, io: { readonly inputs: DecoderInputs; readonly cache: CacheNames }): Value {
  const block = new DecoderBlock(graph, decoder, io.inputs);
  let hidden_BSD = graph.node('Gather', [decoder.weights.embedding(graph), io.inputs.inputIds_BS], { as: 'embedded' });
  for (let layer = 0; layer < decoder.config.layers; layer++) {
    hidden_BSD = block.add(layer, hidden_BSD, io.cache);
  }
  return hidden_BSD;
}

/** Final norm and language-model head over rows of hidden states, float32 [N, D] to [N, V]. A tied head reads the embedding as it lies. */
export function addHead(graph: GraphBuilder, decoder: Decoder, hidden_ND: Value): Value {
  const normed = addNorm(graph, decoder, { hidden: hidden_ND, name: 'model.norm' });
  return graph.node('Gemm', [normed, decoder.weights.head(graph)], { attributes: { transB: { int: 1 } }, as: 'logits_NV' });
}

function addNorm(graph: GraphBuilder, { config, weights }: Decoder, norm: { readonly hidden: Value; readonly name: string }): Value {
  return graph.node('RMSNormalization', [norm.hidden, weights.norm(graph, norm.name)], {
    attributes: { axis: { int: -1 }, epsilon: { float: config.rmsNormEps } },
    as: norm.name,
  });
}

class DecoderBlock {
  private readonly cos: Value;
  private readonly sin: Value;

  constructor(
    private readonly graph: GraphBuilder,
    private readonly decoder: Decoder,
    private readonly inputs: DecoderInputs,
  ) {
    ({ cos: this.cos, sin: this.sin } = decoder.weights.rotations(graph));
  }

  add(layer: number, hidden_BSD: Value, cache: CacheNames): Value {
    const name = `model.layers.${layer}`;
    const attended = this.attention(layer, hidden_BSD, cache);
    const middle = this.graph.node('Add', [hidden_BSD, attended], { as: `${name}.middle` });
    const fed = this.feedForward(name, middle);
    return this.graph.node('Add', [middle, fed], { as: `${name}.hidden` });
  }

  private attention(layer: number, hidden_BSD: Value, cache: CacheNames): Value {
    const { graph, inputs } = this;
    const { heads, kvHeads, headDim } = this.decoder.config;
    const name = `model.layers.${layer}.self_attn`;
    const added = cache.kind === 'new' ? cache.layers[layer] : { key: `${name}.key`, value: `${name}.value` };
    const all = cache.kind === 'present' ? cache.layers[layer] : { key: `${name}.all_keys`, value: `${name}.all_values` };
    const normed = addNorm(graph, this.decoder, { hidden: hidden_BSD, name: `model.layers.${layer}.input_layernorm` });
    const query = this.rotated(this.turnable(normed, `${name}.q`, heads), `${name}.query`);
    const key = this.rotated(this.turnable(normed, `${name}.k`, kvHeads), added.key);
    const value = this.headsFirst(this.split(normed, `${name}.v_proj`, kvHeads), added.value);
    const past = inputs.past[layer];
    const mixed = `${name}.mixed`;
    graph.nodeWithResults('Attention', [query, key, value, inputs.mask_B1ST, past.key, past.value], {
      attributes: { scale: { float: 1 / Math.sqrt(headDim) } },
      as: [mixed, all.key, all.value],
    });
    const rows_BSHK = graph.node('Transpose', [mixed], { attributes: { perm: { ints: [0, 2, 1, 3] } }, as: `${mixed}_BSHK` });
    const rows = graph.node('Reshape', [rows_BSHK, graph.ints(0, 0, heads * headDim)], { as: `${mixed}_BSD` });
    return this.linear(rows, `${name}.o_proj`);
  }

  /** Heads of q or k as they are before they turn, [B, H, S, K]: normalised one by one where the family does. */
  private turnable(hidden_BSD: Value, name: string, heads: number): Value {
    const split = this.split(hidden_BSD, `${name}_proj`, heads);
    const normed = hasQkNorm(this.decoder.config) ? addNorm(this.graph, this.decoder, { hidden: split, name: `${name}_norm` }) : split;
    return this.headsFirst(normed, `${name}_proj.heads`);
  }

  /** Projects and gives each head its own axis: [B, S, D] to [B, S, H, K]. */
  private split(hidden_BSD: Value, name: string, heads: number): Value {
    const { config, weights } = this.decoder;
    const product = this.linear(hidden_BSD, name);
    const projected = hasQkvBias(config) ? this.graph.node('Add', [product, weights.bias(this.graph, name)], { as: `${name}.biased` }) : product;
    return this.graph.node('Reshape', [projected, this.graph.ints(0, 0, heads, config.headDim)], { as: `${name}_BSHK` });
  }

  private headsFirst(heads_BSHK: Value, as: Value): Value {
    return this.graph.node('Transpose', [heads_BSHK], { attributes: { perm: { ints: [0, 2, 1, 3] } }, as });
  }

  private rotated(heads_BHSK: Value, as: Value): Value {
    return this.graph.node('RotaryEmbedding', [heads_BHSK, this.cos, this.sin, this.inputs.positionIds_BS], { as });
  }

  private feedForward(name: string, hidden_BSD: Value): Value {
    const normed = addNorm(this.graph, this.decoder, { hidden: hidden_BSD, name: `${name}.post_attention_layernorm` });
    const gate = this.linear(normed, `${name}.mlp.gate_proj`);
    const up = this.linear(normed, `${name}.mlp.up_proj`);
    const activated = this.graph.node('Mul', [gate, this.graph.node('Sigmoid', [gate])], { as: `${name}.mlp.activated` });
    const gated = this.graph.node('Mul', [activated, up], { as: `${name}.mlp.gated` });
    return this.linear(gated, `${name}.mlp.down_proj`);
  }

  private linear(input: Value, name: string): Value {
    return this.graph.node('MatMul', [input, this.decoder.weights.linear(this.graph, name)], { as: name });
  }
}
