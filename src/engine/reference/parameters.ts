import type { ModelConfig } from '../../model-files/config.js';
import { Matrix } from './tape.js';

/** Every tensor of a Llama under its Hugging Face name; a tied head has none of its own. */
export function parameterShapes(config: ModelConfig): ReadonlyMap<string, readonly number[]> {
  const { hiddenSize: D, intermediateSize: F, headDim: K, heads, kvHeads, vocabSize: V } = config;
  const shapes = new Map<string, readonly number[]>([['model.embed_tokens.weight', [V, D]]]);
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    shapes.set(`${prefix}.input_layernorm.weight`, [D]);
    shapes.set(`${prefix}.self_attn.q_proj.weight`, [heads * K, D]);
    shapes.set(`${prefix}.self_attn.k_proj.weight`, [kvHeads * K, D]);
    shapes.set(`${prefix}.self_attn.v_proj.weight`, [kvHeads * K, D]);
    shapes.set(`${prefix}.self_attn.o_proj.weight`, [D, heads * K]);
    shapes.set(`${prefix}.post_attention_layernorm.weight`, [D]);
    shapes.set(`${prefix}.mlp.gate_proj.weight`, [F, D]);
    shapes.set(`${prefix}.mlp.up_proj.weight`, [F, D]);
    shapes.set(`${prefix}.mlp.down_proj.weight`, [D, F]);
  }
  shapes.set('model.norm.weight', [D]);
  if (!config.tiedEmbeddings) shapes.set('lm_head.weight', [V, D]);
  return shapes;
}

/** Copies weights into matrices with empty gradients. @throws Error when one is absent or has another size. */
export function toMatrices(config: ModelConfig, weights: ReadonlyMap<string, Float64Array>): Map<string, Matrix> {
  const matrices = new Map<string, Matrix>();
  for (const [name, shape] of parameterShapes(config)) {
    const rows = shape.length === 1 ? 1 : shape[0];
    const columns = shape[shape.length - 1];
    const values = weights.get(name);
    if (values?.length !== rows * columns) throw new Error(`${name} should have ${rows * columns} values and has ${values?.length ?? 'none'}`);
    matrices.set(name, new Matrix(rows, columns, values.slice()));
  }
  return matrices;
}
