import { afterEach, describe, expect, it } from 'vitest';
import { codeOf, expectRepeatable, normals } from '../../test/support/kernels/check.js';
import { roundedToBf16 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { PAGE_POSITIONS, loadKernels } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

describe('kvWrite', () => {
  const pages = [[4, 0], [2, 6], [5, 1]];

  it.each([
    { slots: [], positions: [], heads: 1, kvHeads: 1, K: 2 },
    { slots: [2], positions: [4], heads: 4, kvHeads: 2, K: 6 },
    { slots: [0, 0, 1, 2, 2], positions: [0, 1, 17, 31, 16], heads: 3, kvHeads: 1, K: 18 },
  ])('copies k and v columns to their place in the pages of a slot and touches nothing else: $heads/$kvHeads heads of $K', ({ slots, positions, heads, kvHeads, K }) => {
    const [P, E, W, N] = [7, PAGE_POSITIONS * kvHeads * K, kvHeads * K, slots.length];
    const C = heads * K + 2 * W;
    const qkv = roundedToBf16(normals(N * C, 1));
    const expected = { k: roundedToBf16(normals(P * E, 2)), v: roundedToBf16(normals(P * E, 3)) };
    const caches = { k: tensors.bf16([P, E], expected.k), v: tensors.bf16([P, E], expected.v) };
    kernels.kvWrite(tensors.bf16([N, C], qkv), tensors.i32([N], slots), tensors.i32([N], positions), tensors.i32([3, 2], pages.flat()), kvHeads, caches.k, caches.v);
    slots.forEach((slot, n) => {
      const page = pages[slot][Math.floor(positions[n] / PAGE_POSITIONS)] * E;
      for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
        for (let d = 0; d < K; d++) {
          const chunk = page + kvHead * PAGE_POSITIONS * K;
          const column = n * C + (heads + kvHead) * K + d;
          expected.k[chunk + (d >> 1) * 32 + 2 * (positions[n] % PAGE_POSITIONS) + d % 2] = qkv[column];
          expected.v[chunk + positions[n] % PAGE_POSITIONS * K + d] = qkv[column + W];
        }
      }
    });
    expect(tensors.values(caches.k)).toEqual(expected.k);
    expect(tensors.values(caches.v)).toEqual(expected.v);
  });

  it('gives the same bits every time and at every thread count', () => {
    const qkv = normals(64 * 8, 4);
    expectRepeatable(kernels, () => {
      const [k, v] = [tensors.bf16([4, 32]), tensors.bf16([4, 32])];
      const slots = Int32Array.from({ length: 64 }, (_, n) => n % 2);
      const positions = Int32Array.from({ length: 64 }, (_, n) => n >> 1);
      kernels.kvWrite(tensors.bf16([64, 8], qkv), tensors.i32([64], slots), tensors.i32([64], positions), tensors.i32([2, 2], [3, 1, 0, 2]), 1, k, v);
      return [tensors.bits(k), tensors.bits(v)];
    }, { across: 'threads' });
  });

  it('refuses places outside the cache before any work', () => {
    const [qkv, k, v] = [tensors.bf16([2, 8], normals(16, 5)), tensors.bf16([3, 32]), tensors.bf16([3, 32])];
    const write = (slots: number[], positions: number[], table = [2, 0, 1]) => () =>
      kernels.kvWrite(qkv, tensors.i32([2], slots), tensors.i32([2], positions), tensors.i32([3, 1], table), 1, k, v);
    expect(codeOf(write([0, 3], [0, 0]))).toBe('kernels.bad_value');
    expect(codeOf(write([0, -1], [0, 0]))).toBe('kernels.bad_value');
    expect(codeOf(write([0, 0], [0, 16]))).toBe('kernels.bad_value');
    expect(codeOf(write([0, 0], [0, 1], [0, 3, 1]))).toBe('kernels.bad_value');
    expect(codeOf(write([0, 0], [0, 1], [0, -1, 1]))).toBe('kernels.bad_value');
    expect([...tensors.values(k)]).toEqual(Array(96).fill(0));
  });

  it('refuses shapes that do not belong together, and wrong dtypes', () => {
    const [slots, positions, table, cache] = [tensors.i32([2]), tensors.i32([2]), tensors.i32([3, 1]), tensors.bf16([3, 64])];
    const write = (columns: number, kvHeads: number, v = cache) => () => kernels.kvWrite(tensors.bf16([2, columns]), slots, positions, table, kvHeads, cache, v);
    expect(codeOf(write(12, 2))).toBe('none');
    expect(codeOf(write(8, 2))).toBe('kernels.bad_shape');
    expect(codeOf(write(12, 3))).toBe('kernels.bad_shape');
    expect(codeOf(write(14, 2))).toBe('kernels.bad_shape');
    expect(codeOf(write(12, 2, tensors.bf16([3, 128])))).toBe('kernels.bad_shape');
    const odd = tensors.bf16([3, 72]); // no whole number of columns
    expect(codeOf(() => kernels.kvWrite(tensors.bf16([2, 12]), slots, positions, table, 2, odd, odd))).toBe('kernels.bad_shape');
    expect(codeOf(write(12, 2, tensors.f32([3, 64])))).toBe('kernels.bad_dtype');
  });
});
