import { expect } from 'vitest';
import type { Kernels } from '../../../kernels/binding/kernels.js';

/** How far a result may lie from its reference: |actual - expected| <= absolute + relative |expected|. */
export interface Tolerance {
  readonly relative?: number;
  readonly absolute?: number;
}

/** Equal numbers. */
export const EXACT: Tolerance = {};
/** Half a unit in the last place of bf16, with room for a float32 sum before the rounding. */
export const BF16_ROUNDING: Tolerance = { relative: 2 ** -8 + 2 ** -12, absolute: 1e-6 };
/** Float32 arithmetic over short sums. */
export const F32_ARITHMETIC: Tolerance = { relative: 2e-6, absolute: 1e-6 };

/** Fails at the element that is farthest out of tolerance, naming it. */
export function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: Tolerance): void {
  expect(actual.length).toBe(expected.length);
  const allowed = (index: number): number => (tolerance.absolute ?? 0) + (tolerance.relative ?? 0) * Math.abs(expected[index]);
  const excess = (index: number): number => Math.abs(actual[index] - expected[index]) - allowed(index);
  let worst = 0;
  for (let index = 0; index < expected.length; index++) {
    const isWorse = !(excess(index) <= excess(worst)); // NaN counts as worse
    if (isWorse) worst = index;
  }
  if (expected.length === 0 || excess(worst) <= 0) return;
  expect.fail(`element ${worst} of ${expected.length} is ${actual[worst]}, expected ${expected[worst]} within ${allowed(worst)}`);
}

type Bits = Float32Array | Int32Array | Uint16Array;

/** Fails at the first element whose bits differ: a printed difference of large arrays takes minutes. */
export function expectSameBits(actual: Bits, expected: Bits): void {
  expect(actual.length).toBe(expected.length);
  const first = Array.from(expected).findIndex((value, index) => !Object.is(actual[index], value));
  if (first >= 0) expect.fail(`element ${first} of ${expected.length} is ${actual[first]}, expected ${expected[first]}`);
}

/** |actual - expected| / |expected|, in the Euclidean norm. */
export function relativeL2(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let size = 0;
  for (let index = 0; index < expected.length; index++) {
    difference += (actual[index] - expected[index]) ** 2;
    size += expected[index] ** 2;
  }
  return Math.sqrt(difference / size);
}

/** Cosine of the angle between two vectors. */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let index = 0; index < a.length; index++) {
    dot += a[index] * b[index];
    aa += a[index] ** 2;
    bb += b[index] ** 2;
  }
  return dot / Math.sqrt(aa * bb);
}

/** `count` repeatable normal numbers times `scale`, a function of the seed alone. */
export function normals(count: number, seed: number, scale = 1): Float64Array {
  const next = uniformSource(seed);
  return Float64Array.from({ length: count }, () => scale * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()));
}

/** `count` repeatable integers in [0, below), a function of the seed alone. */
export function integers(count: number, seed: number, below: number): Int32Array {
  const next = uniformSource(seed);
  return Int32Array.from({ length: count }, () => Math.floor(next() * below));
}

/** mulberry32. */
function uniformSource(seed: number): () => number {
  let state = (seed * 0x9e3779b1) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The stable code of the error that `call` throws, or 'none' when it throws nothing. */
export function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
  return 'none';
}

const REPETITIONS = 5;

/**
 * Runs `once` (fresh inputs each time, answering its output's bits) repeatedly at 2, 8 and 16 threads and expects equal bits within each thread count;
 * with `across: 'threads'` also between them. Leaves 2 threads set.
 */
export function expectRepeatable(kernels: Kernels, once: () => readonly Bits[], options: { readonly across?: 'threads' } = {}): void {
  const seen = new Map<string, string>();
  for (const threads of [16, 8, 2]) {
    kernels.setThreads(threads);
    const group = options.across === 'threads' ? 'any' : String(threads);
    for (let repetition = 0; repetition < REPETITIONS; repetition++) {
      const bits = once().map(hex).join('|');
      const first = seen.get(group) ?? bits;
      seen.set(group, first);
      if (bits !== first) expect.fail(`bits differ at ${threads} threads, repetition ${repetition}`);
    }
  }
}

function hex(bits: Bits): string {
  return Buffer.from(bits.buffer, bits.byteOffset, bits.byteLength).toString('hex');
}
