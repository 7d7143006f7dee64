import { createRequire } from 'node:module';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chooseLibrary, cpuFlags } from './choose-library.js';
import { KernelsNotBuilt } from './kernels.errors.js';

/** Element types a tensor can have. */
export type DType = 'f32' | 'bf16' | 'i32';

/** A handle to a native tensor: contiguous, row-major, 64-byte aligned. Integers, because unwrapping an object costs more than a small kernel. */
export type Tensor = number & { readonly __tensor: unique symbol };

/** Absent optional tensor. */
export const NO_TENSOR = -1 as Tensor;

/** Positions of a page of a cache (kernels/ops/kv_cache.h). */
export const PAGE_POSITIONS = 16;

/** Positions of the fewest pages that hold `positions`. */
export function cacheLength(positions: number): number {
  return Math.ceil(positions / PAGE_POSITIONS) * PAGE_POSITIONS;
}

export const LOSS_CODES = { hard: 0, forward_kl: 1, reverse_kl: 2 } as const;

/**
 * The leaf operations, one native call each. Axes: N tokens, D width, I and O a linear layer's in and out, F feed-forward width, C = (Hq + 2 Hkv) K
 * columns of a fused q|k|v row, Hq and Hkv query and key heads, K head width, V vocabulary, R rows with loss, E support entries, B decode slots,
 * M pages of a slot, P pages of a cache. Every operation checks shapes and dtypes first and throws an Error with `code` `kernels.bad_shape`, `kernels.bad_dtype`,
 * `kernels.bad_value`, `kernels.bad_handle` or `kernels.out_of_memory` before any work. "+=" adds to what is there. Contracts and formulas: `kernels/ops/<op>.h`.
 */
export interface Kernels {
  /** Zeroed. Shape of 1 to 4 axes, each >= 0. */
  alloc(dtype: DType, shape: readonly number[]): Tensor;
  /** A window of `shape` that starts `offset` elements into `base` and shares its memory; freeing it frees only the handle. */
  view(base: Tensor, offset: number, shape: readonly number[]): Tensor;
  free(tensor: Tensor): void;
  /** Bytes held by all live tensors. */
  allocatedBytes(): number;
  /** Bytes of scratch memory that operations share; it has grown to the largest request and stays. */
  workspaceBytes(): number;
  /** Copies from an array of the tensor's size: Float32Array (f32), Int32Array (i32), Uint16Array (bf16 bit patterns). */
  write(tensor: Tensor, source: Float32Array | Int32Array | Uint16Array): void;
  /** Copies into an array of the tensor's size; types as `write`. */
  read(tensor: Tensor, target: Float32Array | Int32Array | Uint16Array): void;
  /** Sets every element to 0. */
  zero(tensor: Tensor): void;
  /** Equal element counts; f32 -> bf16 rounds to nearest even, bf16 -> f32 is exact, equal types copy. */
  convert(source: Tensor, target: Tensor): void;
  setThreads(threads: number): void;
  /** Threads, instruction set and library versions on which bits depend, for example `threads=2 library=avx512 isa=avx512_bf16 …`. */
  buildInfo(): string;

  /** out_ND f32 = weight_VD[tokens_N] (bf16). */
  embeddingForward(tokens_N: Tensor, weight_VD: Tensor, out_ND: Tensor): void;
  /** dweight_VD f32 += rows of dout_ND f32, in token order. */
  embeddingBackward(tokens_N: Tensor, dout_ND: Tensor, dweight_VD: Tensor): void;

  /** residual_ND f32 += delta_ND (bf16 or f32; skipped when absent); out_ND bf16 = residual * rstd * weight_D f32; rstd_N f32 = 1/sqrt(mean(x^2) + eps). */
  rmsNormForward(residual_ND: Tensor, delta_ND: Tensor, weight_D: Tensor, eps: number, out_ND: Tensor, rstd_N: Tensor): void;
  /**
   * dresidual_ND f32 += gradient through the norm of dout_ND bf16; dweight_D f32 +=; ddelta_ND bf16 = the summed dresidual rounded (skipped when absent).
   * residual_ND and rstd_N as the forward left them.
   */
  rmsNormBackward(dout_ND: Tensor, residual_ND: Tensor, weight_D: Tensor, rstd_N: Tensor, dresidual_ND: Tensor, dweight_D: Tensor, ddelta_ND: Tensor): void;

  /** out_NO (bf16 or f32) = x_NI bf16 . weight_OI^T bf16. */
  linearForward(x_NI: Tensor, weight_OI: Tensor, out_NO: Tensor): void;
  /** P: elements of a weight [O, I] packed for products of few rows. */
  packedElements(O: number, I: number): number;
  /** packed_P bf16, P > 0, = weight_OI bf16 in the order in which `linearPacked` reads it. */
  packWeight(weight_OI: Tensor, packed_P: Tensor): void;
  /** `linearForward` to the bit, faster for few rows whose weight has not stayed in a cache. */
  linearPacked(x_NI: Tensor, packed_P: Tensor, out_NO: Tensor): void;
  /** dx_NI bf16 = dout_NO bf16 . weight_OI. */
  linearBackwardInput(dout_NO: Tensor, weight_OI: Tensor, dx_NI: Tensor): void;
  /** dweight_OI f32 += dout_NO^T . x_NI. */
  linearBackwardWeight(dout_NO: Tensor, x_NI: Tensor, dweight_OI: Tensor): void;

  /**
   * Finishes the rows of the q|k|v product: out_NC bf16 = qkv_NC bf16 + bias_C f32 (skipped when absent), each q and k head then normalised with qNorm_K and
   * kNorm_K f32 (skipped when both are absent, as is `eps`) and rotated in half-split form. out_NC may be qkv_NC itself. positions_N i32; invFreq f32 [K/2].
   */
  ropeForward(qkv_NC: Tensor, positions_N: Tensor, invFreq: Tensor, bias_C: Tensor, qNorm_K: Tensor, kNorm_K: Tensor, eps: number, heads: number, kvHeads: number,
    out_NC: Tensor): void;
  /**
   * In place: dqkv_NC bf16, the gradient of what the forward wrote, becomes that of its qkv_NC. dbias_C, dqNorm_K and dkNorm_K f32 +=, each given with its weight.
   * qkv_NC as the forward found it, given with norms only.
   */
  ropeBackward(dqkv_NC: Tensor, qkv_NC: Tensor, positions_N: Tensor, invFreq: Tensor, bias_C: Tensor, qNorm_K: Tensor, kNorm_K: Tensor, eps: number, heads: number,
    kvHeads: number, dbias_C: Tensor, dqNorm_K: Tensor, dkNorm_K: Tensor): void;

  /** Causal, packed by cuSeqlens_S1 i32; scale 1/sqrt(K). out bf16 [N, Hq K]; lse f32 [N, Hq]. */
  attentionForward(qkv_NC: Tensor, cuSeqlens_S1: Tensor, heads: number, kvHeads: number, out: Tensor, lse: Tensor): void;
  /** dqkv_NC bf16 overwritten. dout and out bf16 [N, Hq K]. */
  attentionBackward(dout: Tensor, qkv_NC: Tensor, out: Tensor, lse: Tensor, cuSeqlens_S1: Tensor, heads: number, kvHeads: number, dqkv_NC: Tensor): void;
  /**
   * Copies the k and v columns of row n to position positions_N[n] of slot slots_N[n]. Caches are pages of `PAGE_POSITIONS` positions, bf16 [P, PAGE_POSITIONS Hkv K]: what
   * lies inside one is the kernels' own matter. pages_BM i32 names the pages of each of B slots in the order of its positions; slots may have pages in common.
   */
  kvWrite(qkv_NC: Tensor, slots_N: Tensor, positions_N: Tensor, pages_BM: Tensor, kvHeads: number, kCache: Tensor, vCache: Tensor): void;
  /** Row n reads positions 0 … positions_N[n] of slot slots_N[n]; rows of one slot may follow each other. out bf16 [N, Hq K], the bits of `attentionForward`. */
  attentionDecode(qkv_NC: Tensor, slots_N: Tensor, positions_N: Tensor, pages_BM: Tensor, heads: number, kvHeads: number, kCache: Tensor, vCache: Tensor, out: Tensor): void;

  /** out_NF bf16 = silu(gate) * up; gateUp_N2F bf16 = gate columns, then up columns. */
  swigluForward(gateUp_N2F: Tensor, out_NF: Tensor): void;
  /** dgateUp_N2F bf16 overwritten; it may be gateUp_N2F itself. */
  swigluBackward(dout_NF: Tensor, gateUp_N2F: Tensor, dgateUp_N2F: Tensor): void;
  /** P: elements of a gate and up weight [2 F, I] packed for `gatedLinear`; 0 where this CPU, or a weight so wide, is better off without. */
  packedGatedElements(F: number, I: number): number;
  /** packed_P bf16, P > 0, = weight_2FI bf16 in the order in which `gatedLinear` reads it. */
  packGated(weight_2FI: Tensor, packed_P: Tensor): void;
  /** out_NF bf16 = `swigluForward` of `linearForward` into bf16, to the bit, without writing what lies between. */
  gatedLinear(x_NI: Tensor, packed_P: Tensor, out_NF: Tensor): void;

  /** out_RD = x_ND[rows_R]; equal dtypes, bf16 or f32. */
  gatherRows(x_ND: Tensor, rows_R: Tensor, out_RD: Tensor): void;
  /** The gradient of `gatherRows`: out_ND[n] = the sum of x_RD[r] over rows_R[r] = n, in float32 in the order of r, rounded once; 0 where there is none. */
  scatterRows(x_RD: Tensor, rows_R: Tensor, out_ND: Tensor): void;

  /**
   * LM head, softmax, divergence and gradients in one pass over chunks of rows; no R x V tensor exists. hidden_RD bf16, weight_VD bf16,
   * labels_R i32, scale_R f32 (weight / normalizer). Targets (NO_TENSOR for `hard`): offsets_R1 i32, ids_E i32, logProbs_E f32, tail_R f32.
   * Writes metrics_RM f32 [R, 8] (columns of ROW_METRICS, the first is the loss of `lossCode`). With dhidden_RD (bf16, overwritten) and dweight_VD (f32 +=)
   * it also writes gradients of sum(scale x loss); both absent: forward only.
   */
  distillHead(lossCode: number, hidden_RD: Tensor, weight_VD: Tensor, labels_R: Tensor, scale_R: Tensor, offsets_R1: Tensor, ids_E: Tensor, logProbs_E: Tensor,
    tail_R: Tensor, metrics_RM: Tensor, dhidden_RD: Tensor, dweight_VD: Tensor): void;
  /**
   * Top k of the head's softmax a row, best first (ties: the smaller id first): topIds i32 [R, k], topLogProbs f32 [R, k]; labelLogProbs_R f32 at labels_R;
   * tail_R f32 = the mass summed over the ids outside top k and label.
   */
  scoreHead(hidden_RD: Tensor, weight_VD: Tensor, labels_R: Tensor, topIds: Tensor, topLogProbs: Tensor, labelLogProbs_R: Tensor, tail_R: Tensor): void;
  /**
   * What a served model answers a row: top k logits, best first (ties: the smaller id first), topIds i32 [R, k], topLogits f32 [R, k]; labelLogits_R f32 and
   * labelRanks_R i32 (ids with at least that logit) at labels_R i32; logSumExp_R f32; and an id drawn by uniforms_R f32 in [0, 1] at temperatures_R f32
   * (0: the best): drawnIds_R i32, drawnLogits_R f32.
   */
  teacherHead(hidden_RD: Tensor, weight_VD: Tensor, labels_R: Tensor, temperatures_R: Tensor, uniforms_R: Tensor, topIds: Tensor, topLogits: Tensor,
    labelLogits_R: Tensor, labelRanks_R: Tensor, logSumExp_R: Tensor, drawnIds_R: Tensor, drawnLogits_R: Tensor): void;

  /** out_1 f32 [2]: the L2 norm over all tensors (f32), and min(1, clip / norm). Fixed blocks, added in index order. */
  gradNorm(grads: readonly Tensor[], clip: number, out_2: Tensor): void;
  /**
   * One AdamW step on one parameter: g = grad x normClip_2[1]; m, v, master f32 in place; weight (bf16 or f32) = master rounded; then grad = 0.
   * master -= lr (mhat / (sqrt(vhat) + eps) + decay master); `step` from 1.
   */
  adamw(master: Tensor, m: Tensor, v: Tensor, grad: Tensor, weight: Tensor, normClip_2: Tensor,
    learningRate: number, beta1: number, beta2: number, eps: number, weightDecay: number, step: number): void;

  /**
   * Draws one id a row from logits_BV f32: temperature_B f32, topK_B i32, topP_B f32 (as `Sampling`), and Philox4x32-10 with the key words
   * keys_B2 i32 and the counter words counters_B4 i32. ids_B i32; logProbs_B f32 at temperature 1 over all of V.
   */
  sampleToken(logits_BV: Tensor, temperature_B: Tensor, topK_B: Tensor, topP_B: Tensor, keys_B2: Tensor, counters_B4: Tensor, ids_B: Tensor, logProbs_B: Tensor): void;
}

/** The kernels as they are loaded. */
export interface LoadedKernels extends Kernels {
  /**
   * The same operations, only rehearsed: each checks its arguments and computes nothing. `alloc` gives address space that takes memory only where it is written
   * (`allocatedBytes` does not count it); `workspaceBytes` is the most scratch asked for in rehearsals since it was last read.
   */
  readonly rehearsal: Kernels;
}

/** Loads the native library that suits this CPU; only the engine process and the kernels' own tests do. @throws CpuUnsupported @throws KernelsNotBuilt */
export function loadKernels(): LoadedKernels {
  const path = kernelLibraryPath();
  if (!existsSync(path)) throw new KernelsNotBuilt(path);
  return createRequire(import.meta.url)(path) as LoadedKernels;
}

/** Where the built library for this CPU stands, or where it should. @throws CpuUnsupported */
export function kernelLibraryPath(): string {
  const maxIsa = process.env['ONEDNN_MAX_CPU_ISA'] ?? process.env['DNNL_MAX_CPU_ISA'];
  const library = chooseLibrary(cpuFlags(readFileSync('/proc/cpuinfo', 'utf8')), maxIsa);
  const relative = join('kernels', 'build', `limbeck_kernels_${library}.node`);
  const start = dirname(fileURLToPath(import.meta.url));
  for (let dir = start; dir !== dirname(dir); dir = dirname(dir)) {
    if (existsSync(join(dir, relative))) return join(dir, relative);
  }
  return relative;
}
