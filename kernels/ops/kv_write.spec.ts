import { afterEach, describe, expect, it } from 'vitest';
import { codeOf, expectRepeatable, normals } from '../../test/support/kernels/check.js';
import { roundedToBf16 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

describe('kvWrite', () => {
  it.each([
    { slots: [], positions: [], heads: 1, kvHeads: 1, K: 2 },
    { slots: [2], positions: [4], heads: 4, kvHeads: 2, K: 6 },
    { slots: [0, 0, 1, 2, 2], positions: [0, 1, 4, 3, 0], heads: 3, kvHeads: 1, K: 18 },
  ])('copies k and v columns to (slot, position) and touches nothing else: $heads/$kvHeads heads of $K', ({ slots, positions, heads, kvHeads, K }) => {
    const [B, L, W, N] = [3, 5, kvHeads * K, slots.length];
    const C = heads * K + 2 * W;
    const qkv = roundedToBf16(normals(N * C, 1));
    const expected = { k: roundedToBf16(normals(B * L * W, 2)), v: roundedToBf16(normals(B * L * W, 3)) };
    const caches = { k: tensors.bf16([B, L, W], expected.k), v: tensors.bf16([B, L, W], expected.v) };
    kernels.kvWrite(tensors.bf16([N, C], qkv), tensors.i32([N], slots), tensors.i32([N], positions), kvHeads, caches.k, caches.v);
    slots.forEach((slot, n) => {
      const row = (slot * L + positions[n]) * W;
      expected.k.set(qkv.subarray(n * C + heads * K, n * C + heads * K + W), row);
      expected.v.set(qkv.subarray(n * C + heads * K + W, (n + 1) * C), row);
    });
    expect(tensors.values(caches.k)).toEqual(expected.k);
    expect(tensors.values(caches.v)).toEqual(expected.v);
  });

  it('gives the same bits every time and at every thread count', () => {
    const qkv = normals(64 * 8, 4);
    expectRepeatable(kernels, () => {
      const [k, v] = [tensors.bf16([2, 32, 2]), tensors.bf16([2, 32, 2])];
      const slots = Int32Array.from({ length: 64 }, (_, n) => n % 2);
      const positions = Int32Array.from({ length: 64 }, (_, n) => n >> 1);
      kernels.kvWrite(tensors.bf16([64, 8], qkv), tensors.i32([64], slots), tensors.i32([64], positions), 1, k, v);
      return [tensors.bits(k), tensors.bits(v)];
    }, { across: 'threads' });
  });

  it('refuses places outside the cache before any work', () => {
    const [qkv, k, v] = [tensors.bf16([2, 8], normals(16, 5)), tensors.bf16([3, 5, 2]), tensors.bf16([3, 5, 2])];
    const write = (slots: number[], positions: number[]) => () => kernels.kvWrite(qkv, tensors.i32([2], slots), tensors.i32([2], positions), 1, k, v);
    expect(codeOf(write([0, 3], [0, 0]))).toBe('kernels.bad_value');
    expect(codeOf(write([0, -1], [0, 0]))).toBe('kernels.bad_value');
    expect(codeOf(write([0, 0], [0, 5]))).toBe('kernels.bad_value');
    expect([...tensors.values(k)]).toEqual(Array(30).fill(0));
  });

  it('refuses shapes that do not belong together, and wrong dtypes', () => {
    const [slots, positions, cache] = [tensors.i32([2]), tensors.i32([2]), tensors.bf16([3, 5, 4])];
    const write = (columns: number, kvHeads: number, v = cache) => () => kernels.kvWrite(tensors.bf16([2, columns]), slots, positions, kvHeads, cache, v);
    expect(codeOf(write(12, 2))).toBe('none');
    expect(codeOf(write(8, 2))).toBe('kernels.bad_shape');
    expect(codeOf(write(12, 3))).toBe('kernels.bad_shape');
    expect(codeOf(write(14, 2))).toBe('kernels.bad_shape');
    expect(codeOf(write(12, 2, tensors.bf16([3, 6, 4])))).toBe('kernels.bad_shape');
    expect(codeOf(write(12, 2, tensors.f32([3, 5, 4])))).toBe('kernels.bad_dtype');
  });
});
