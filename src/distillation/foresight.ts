import { parameterCount } from '../model-files/parameters.js';
import type { ModelConfig } from '../model-files/config.js';
import type { Spec } from './spec.js';

/** float32 weight and two moments. */
const BYTES_PER_PARAMETER_SAVED = 12;
/** At the height: those kept of distill and of align, and the one being written. */
const CHECKPOINTS = 2 * 3 + 1;
/** bf16 as the engine wrote it and once more in the student's directory, float32 in the ONNX model. */
const BYTES_PER_PARAMETER_EXPORTED = 8;
/** 18 bits of id and a float16. */
const BYTES_PER_STORED_TARGET = 4.25;

/** Bytes that the run will take on disk at its height. @param prompts training prompts. */
export function foreseeDisk({ spec, config, prompts }: { spec: Spec; config: ModelConfig; prompts: number }): number {
  const { targets, collect } = spec.method.distillation;
  const shards = prompts * collect.samples_per_prompt * collect.max_tokens * targets.top_k * BYTES_PER_STORED_TARGET;
  return parameterCount(config) * (CHECKPOINTS * BYTES_PER_PARAMETER_SAVED + BYTES_PER_PARAMETER_EXPORTED) + shards;
}
