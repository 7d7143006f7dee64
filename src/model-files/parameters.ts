import { hasQkNorm, hasQkvBias, type ModelConfig } from './config.js';

/** Every tensor a model of this configuration has, by its Hugging Face name, with its shape; linear weights are [out, in]. */
export function expectedTensors(config: ModelConfig): Map<string, readonly number[]> {
  const { vocabSize, hiddenSize } = config;
  const shapes = new Map<string, readonly number[]>([['model.embed_tokens.weight', [vocabSize, hiddenSize]]]);
  for (let layer = 0; layer < config.layers; layer++) {
    for (const [name, shape] of Object.entries(layerTensors(config))) shapes.set(`model.layers.${layer}.${name}`, shape);
  }
  shapes.set('model.norm.weight', [hiddenSize]);
  if (!config.tiedEmbeddings) shapes.set('lm_head.weight', [vocabSize, hiddenSize]);
  return shapes;
}

/** How many numbers a model of this configuration learns; a tied head counts once. */
export function parameterCount(config: ModelConfig): number {
  const { vocabSize, hiddenSize } = config;
  const perLayer = Object.values(layerTensors(config)).reduce((sum, shape) => sum + product(shape), 0);
  return vocabSize * hiddenSize * (config.tiedEmbeddings ? 1 : 2) + config.layers * perLayer + hiddenSize;
}

function layerTensors(config: ModelConfig): Record<string, readonly number[]> {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  return {
    'input_layernorm.weight': [hiddenSize],
    'self_attn.q_proj.weight': [heads * headDim, hiddenSize],
    'self_attn.k_proj.weight': [kvHeads * headDim, hiddenSize],
    'self_attn.v_proj.weight': [kvHeads * headDim, hiddenSize],
    ...(hasQkvBias(config) && {
      'self_attn.q_proj.bias': [heads * headDim],
      'self_attn.k_proj.bias': [kvHeads * headDim],
      'self_attn.v_proj.bias': [kvHeads * headDim],
    }),
    ...(hasQkNorm(config) && { 'self_attn.q_norm.weight': [headDim], 'self_attn.k_norm.weight': [headDim] }),
    'self_attn.o_proj.weight': [hiddenSize, heads * headDim],
    'post_attention_layernorm.weight': [hiddenSize],
    'mlp.gate_proj.weight': [intermediateSize, hiddenSize],
    'mlp.up_proj.weight': [intermediateSize, hiddenSize],
    'mlp.down_proj.weight': [hiddenSize, intermediateSize],
  };
}

function product(shape: readonly number[]): number {
  return shape.reduce((all, size) => all * size, 1);
}
