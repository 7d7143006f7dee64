import type { TinyModelOptions, TinyTensor } from './tiny-model.js';

/**
 * Logits of a tiny Llama at every position of one sequence, [T][V], in float64, written from the formulas and sharing no code with the product:
 * pre-norm blocks, half-split RoPE with base 10000, causal attention with grouped heads, SwiGLU.
 */
export function llamaLogits(model: TinyModelOptions, tensors: readonly TinyTensor[], ids: readonly number[]): number[][] {
  const weights = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const vector = (name: string): Float32Array => required(weights.get(name)).values;
  const apply = (name: string, x: readonly number[]): number[] => multiply(required(weights.get(name)), x);
  let hidden_TD = ids.map((id) => Array.from(vector('model.embed_tokens.weight').subarray(id * model.hidden, (id + 1) * model.hidden)));
  for (let layer = 0; layer < model.layers; layer++) {
    const name = `model.layers.${layer}`;
    const normed = hidden_TD.map((x) => rmsNorm(x, vector(`${name}.input_layernorm.weight`)));
    const project = (part: string): number[][] => normed.map((x) => apply(`${name}.self_attn.${part}_proj.weight`, x));
    const mixed = attention(model, { query: project('q'), key: project('k'), value: project('v') });
    hidden_TD = hidden_TD.map((x, t) => sum(x, apply(`${name}.self_attn.o_proj.weight`, mixed[t])));
    hidden_TD = hidden_TD.map((x) => {
      const y = rmsNorm(x, vector(`${name}.post_attention_layernorm.weight`));
      const up = apply(`${name}.mlp.up_proj.weight`, y);
      const gated = apply(`${name}.mlp.gate_proj.weight`, y).map((gate, i) => (gate / (1 + Math.exp(-gate))) * up[i]);
      return sum(x, apply(`${name}.mlp.down_proj.weight`, gated));
    });
  }
  const head = model.tied ? 'model.embed_tokens.weight' : 'lm_head.weight';
  return hidden_TD.map((x) => apply(head, rmsNorm(x, vector('model.norm.weight'))));
}

/** log sum exp in float64. */
export function logSumExp(logits: readonly number[]): number {
  const max = Math.max(...logits);
  return max + Math.log(logits.reduce((total, logit) => total + Math.exp(logit - max), 0));
}

function attention(model: TinyModelOptions, heads: { query: number[][]; key: number[][]; value: number[][] }): number[][] {
  const { headDim: K } = model;
  return heads.query.map((row, t) => {
    const mixed: number[] = [];
    for (let head = 0; head < model.heads; head++) {
      const shared = Math.floor(head / (model.heads / model.kvHeads));
      const part = (x: readonly number[], at: number): number[] => x.slice(at * K, (at + 1) * K);
      const query = rotate(part(row, head), t);
      const scores = heads.key.slice(0, t + 1).map((key, s) => dot(query, rotate(part(key, shared), s)) / Math.sqrt(K));
      const norm = logSumExp(scores);
      const value = Array.from({ length: K }, (_, i) => scores.reduce((total, score, s) => total + Math.exp(score - norm) * heads.value[s][shared * K + i], 0));
      mixed.push(...value);
    }
    return mixed;
  });
}

function rotate(x: readonly number[], position: number): number[] {
  const half = x.length / 2;
  return x.map((value, i) => {
    const angle = position * 10_000 ** (-(i % half) / half);
    return i < half ? value * Math.cos(angle) - x[i + half] * Math.sin(angle) : value * Math.cos(angle) + x[i - half] * Math.sin(angle);
  });
}

function rmsNorm(x: readonly number[], weight: Float32Array): number[] {
  const scale = 1 / Math.sqrt(dot(x, x) / x.length + 1e-5);
  return x.map((value, i) => value * scale * weight[i]);
}

function multiply({ shape: [rows, columns], values }: TinyTensor, x: readonly number[]): number[] {
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

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('the tiny model lacks a tensor');
  return value;
}
