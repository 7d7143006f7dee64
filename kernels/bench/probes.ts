import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { kernelLibraryPath } from '../binding/kernels.js';
import { KernelsNotBuilt } from '../binding/kernels.errors.js';

/** A handle to operands and a compiled product of oneDNN. */
export type ProbedProduct = number & { readonly __product: unique symbol };

/**
 * The machine's own limits (`kernels/bench/probe.h`), on as many threads as `Kernels.setThreads` set: both libraries share one OpenMP. Rates are the
 * best of several runs.
 */
export interface Probes {
  /** The widest products of this CPU: `amx_bf16`, `avx512_bf16` or `avx2_fma`. */
  readonly peakInstructions: string;
  /** FLOP/s of those instructions with all operands in registers. */
  registerPeak(): number;
  /** Bytes/s of reading `bytes`, which should exceed the last cache several times. */
  memoryRead(bytes: number, repeats: number): number;
  /** Bytes/s of two streams of `bytes` read and one written, as large together. */
  memoryMixed(bytes: number, repeats: number): number;
  /** C[m,n] (+)= A[m,k] B[k,n] in bf16 (float32 where the CPU has no bf16 products) by oneDNN; `isPacked`: B is reordered as oneDNN likes it, ahead of the calls. */
  createProduct(m: number, n: number, k: number, isATransposed: boolean, isBTransposed: boolean, isFloat32Output: boolean, accumulates: boolean, isPacked: boolean): ProbedProduct;
  /** Seconds of one call. */
  runProduct(product: ProbedProduct): number;
  freeProduct(product: ProbedProduct): void;
}

/** Loads the probes; only the benchmark does. @throws KernelsNotBuilt */
export function loadProbes(): Probes {
  const path = join(dirname(kernelLibraryPath()), 'limbeck_bench.node');
  if (!existsSync(path)) throw new KernelsNotBuilt(path);
  return createRequire(import.meta.url)(path) as Probes;
}
