import { parameterCount } from '../model-files/parameters.js';
import type { ModelConfig } from '../model-files/config.js';
import type { Spec } from './spec.js';

/** float32 weight, gradient and two moments, and the bf16 weight. */
const BYTES_PER_PARAMETER = 18;
/** bf16, what a layer keeps of each token for its backward: inputs and outputs of its norms, projections and products. */
const BYTES_PER_ACTIVATION = 2;
/** A target entry in memory: int32 id and float32 log-prob. */
const BYTES_PER_TARGET = 8;

/** float32 weight and two moments. */
const BYTES_PER_PARAMETER_SAVED = 12;
/** At the height: those kept of distill and of align, and the one being written. */
const CHECKPOINTS = 2 * 3 + 1;
/** bf16 as the engine wrote it and once more in the student's directory, float32 in the ONNX model. */
const BYTES_PER_PARAMETER_EXPORTED = 8;
/** 18 bits of id and a float16. */
const BYTES_PER_STORED_TARGET = 4.25;

/** Bytes that training this student by this spec will take at its height; an estimate from below. @param prompts training prompts. */
export function foreseeMemory({ spec, config, prompts }: { spec: Spec; config: ModelConfig; prompts: number }): number {
  const { micro_batch_tokens, targets, collect, align } = spec.method.distillation;
  const { hiddenSize: D, intermediateSize: F, layers, heads: H, kvHeads, headDim: K } = config;
  const perToken = layers * (4 * D + 2 * H * K + 2 * kvHeads * K + 3 * F) * BYTES_PER_ACTIVATION;
  const cache = align.prompts_per_step * align.max_tokens * layers * 2 * kvHeads * K * BYTES_PER_ACTIVATION;
  const held = prompts * collect.samples_per_prompt * collect.max_tokens * targets.top_k * BYTES_PER_TARGET;
  return parameterCount(config) * BYTES_PER_PARAMETER + Math.max(micro_batch_tokens * perToken, cache) + held;
}

/** Bytes that the run will take on disk at its height. @param prompts training prompts. */
export function foreseeDisk({ spec, config, prompts }: { spec: Spec; config: ModelConfig; prompts: number }): number {
  const { targets, collect } = spec.method.distillation;
  const shards = prompts * collect.samples_per_prompt * collect.max_tokens * targets.top_k * BYTES_PER_STORED_TARGET;
  return parameterCount(config) * (CHECKPOINTS * BYTES_PER_PARAMETER_SAVED + BYTES_PER_PARAMETER_EXPORTED) + shards;
}
