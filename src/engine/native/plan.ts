import type { Kernels } from '../../../kernels/binding/kernels.js';
import { hasQkNorm, type ModelConfig } from '../../model-files/config.js';
import { BatchTooLarge } from '../engine.js';
import { ELEMENT_BYTES, type Arena, type Elements } from './arena.js';
import { qkvColumns } from './operations.js';
import type { ParameterSet } from './parameters.js';

/** What every part of the engine works on. */
export interface EngineCore {
  readonly kernels: Kernels;
  readonly arena: Arena;
  readonly parameters: ParameterSet;
  readonly config: ModelConfig;
  /** Most bytes to plan for; without it, what the machine has free. */
  readonly memoryLimitBytes?: number;
}

/** Sizes of one pass: N rows, R of them picked for the head, E support entries, and float32 and i32 elements the head's outputs take. */
export interface PassSize {
  readonly rows: number;
  readonly picked: number;
  readonly support?: number;
  readonly outputs?: number;
}

/** The kernels' own scratch: packed weights, chunks of logits, attention tiles. */
const KERNEL_WORKSPACE_BYTES = 192 << 20;
const PICKED_COLUMNS = 16; // labels, scales, offsets, tails and the metrics of a row

/** Elements a pass without gradients takes at most: one layer's tensors. */
export function inferencePlan(config: ModelConfig, { rows: N, picked: R, support: E = 0, outputs = 0 }: PassSize): Elements {
  const { hiddenSize: D, intermediateSize: F, heads, headDim: K } = config;
  const columns = qkvColumns(config);
  return withSlack(config, {
    f32: N * (2 * D + 1 + heads) + R * PICKED_COLUMNS + E + outputs,
    bf16: N * (D + columns + heads * K + 3 * F) + R * D,
    i32: 4 * N + R * PICKED_COLUMNS + E + outputs,
  });
}

/** Elements a pass with gradients takes at most: every layer's activations, and the gradients alive at one time. */
export function trainingPlan(config: ModelConfig, { rows: N, picked: R, support: E = 0 }: PassSize): Elements {
  const { hiddenSize: D, intermediateSize: F, layers, heads, headDim: K } = config;
  const columns = qkvColumns(config);
  // One layer's finished rows beside those that the norms' backward keeps.
  const remade = hasQkNorm(config) ? columns : 0;
  const norms = 2 * layers + 1;
  const gradients = 2 * D + F + columns + heads * K;
  return withSlack(config, {
    f32: N * (norms * (D + 1) + layers * heads + 2 * D) + R * PICKED_COLUMNS + E,
    bf16: N * (norms * D + layers * (columns + heads * K + 3 * F) + gradients + remade) + 2 * R * D,
    i32: 4 * N + R * PICKED_COLUMNS + E,
  });
}

// Each tensor may lose up to a cache line to alignment.
function withSlack(config: ModelConfig, plan: Elements): Elements {
  const slack = 32 * (16 * config.layers + 64);
  return { f32: plan.f32 + slack, bf16: plan.bf16 + slack, i32: plan.i32 + slack };
}

/** Prepares the arena for a pass. @throws BatchTooLarge, with nothing changed, when `plan` and `extraBytes` beside it cannot fit. */
export function reserve(core: EngineCore, plan: Elements, { what, extraBytes }: { what: string; extraBytes: number }): void {
  const needed = core.arena.missingBytes(plan) + extraBytes + KERNEL_WORKSPACE_BYTES;
  const free = freeBytes(core);
  if (needed > free) {
    throw new BatchTooLarge(`${what} needs ${mebibytes(needed)} MiB more memory and ${mebibytes(free)} MiB are free; use shorter or fewer sequences at a time`);
  }
  core.arena.reset(plan);
}

function freeBytes({ kernels, memoryLimitBytes = Infinity }: EngineCore): number {
  return Math.max(0, Math.min(process.availableMemory(), memoryLimitBytes - kernels.allocatedBytes()));
}

function mebibytes(bytes: number): number {
  return Math.ceil(bytes / 2 ** 20);
}

/** Bytes of bf16 elements. */
export function bf16Bytes(elements: number): number {
  return elements * ELEMENT_BYTES.bf16;
}
