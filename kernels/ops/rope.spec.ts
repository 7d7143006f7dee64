import { afterEach, describe, expect, it } from 'vitest';
import { BF16_ROUNDING, codeOf, expectClose, expectRepeatable, integers, normals } from '../../test/support/kernels/check.js';
import { roundedToBf16, roundedToF32 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

const shapes = [
  { N: 0, heads: 1, kvHeads: 1, K: 2 },
  { N: 1, heads: 1, kvHeads: 1, K: 2 },
  { N: 9, heads: 9, kvHeads: 3, K: 64 },
  { N: 21, heads: 6, kvHeads: 2, K: 10 },
  { N: 5, heads: 4, kvHeads: 1, K: 38 },
];

type RopeCase = (typeof shapes)[number];

const frequencies = (K: number): Float64Array => roundedToF32(Float64Array.from({ length: K / 2 }, (_, i) => 10000 ** ((-2 * i) / K)));

interface RopeRows {
  readonly rows: Float64Array;
  readonly positions: ArrayLike<number>;
}

/** The formula of rope.h; `sign` -1 is the inverse. */
function reference({ rows, positions }: RopeRows, { N, heads, kvHeads, K }: RopeCase, sign: 1 | -1): Float64Array {
  const out = Float64Array.from(rows);
  const C = (heads + 2 * kvHeads) * K;
  const invFreq = frequencies(K);
  for (let n = 0; n < N; n++) {
    for (let head = 0; head < heads + kvHeads; head++) {
      for (let i = 0; i < K / 2; i++) {
        const low = n * C + head * K + i;
        const high = low + K / 2;
        const angle = sign * positions[n] * invFreq[i];
        out[low] = rows[low] * Math.cos(angle) - rows[high] * Math.sin(angle);
        out[high] = rows[high] * Math.cos(angle) + rows[low] * Math.sin(angle);
      }
    }
  }
  return out;
}

function inputs(rope: RopeCase, seed: number) {
  const C = (rope.heads + 2 * rope.kvHeads) * rope.K;
  const rows = roundedToBf16(normals(rope.N * C, seed));
  const positions = integers(rope.N, seed + 1, 9000);
  const handles = [tensors.bf16([rope.N, C], rows), tensors.i32([rope.N], positions), tensors.f32([rope.K / 2], frequencies(rope.K))] as const;
  return { rows, positions, handles };
}

describe('ropeForward and ropeBackward', () => {
  it.each(shapes)('rotate the q and k columns of $N rows, $heads and $kvHeads heads of $K, and leave v alone', (rope) => {
    const there = inputs(rope, 1);
    kernels.ropeForward(...there.handles, rope.heads, rope.kvHeads);
    expectClose(tensors.values(there.handles[0]), reference(there, rope, 1), BF16_ROUNDING);
    const back = inputs(rope, 3);
    kernels.ropeBackward(...back.handles, rope.heads, rope.kvHeads);
    expectClose(tensors.values(back.handles[0]), reference(back, rope, -1), BF16_ROUNDING);
  });

  it('is exact at position 0 and turns a pair by its angle', () => {
    const qkv = tensors.bf16([2, 6], [1, 0, 1, 0, 5, 6, 1, 0, 1, 0, 5, 6]);
    kernels.ropeForward(qkv, tensors.i32([2], [0, 1]), tensors.f32([1], [Math.PI / 2]), 1, 1);
    expectClose(tensors.values(qkv), [1, 0, 1, 0, 5, 6, 0, 1, 0, 1, 5, 6], { absolute: 1e-7 });
  });

  it('keeps its accuracy in every quarter of the circle and far out', () => {
    const angles = Float64Array.from({ length: 4000 }, (_, i) => (i - 2000) * 0.01);
    const rope = { N: angles.length, heads: 1, kvHeads: 1, K: 2 };
    const pairs = Float64Array.from({ length: rope.N * 6 }, (_, i) => (i % 6 === 0 ? 1 : 0));
    const qkv = tensors.bf16([rope.N, 6], pairs);
    const positions = Int32Array.from({ length: rope.N }, (_, i) => i - 2000 + (i % 2) * 1_000_000);
    const invFreq = Math.fround(0.01);
    kernels.ropeForward(qkv, tensors.i32([rope.N], positions), tensors.f32([1], [invFreq]), 1, 1);
    const values = tensors.values(qkv);
    expectClose(values.filter((_, i) => i % 6 === 0), Float64Array.from(positions, (p) => Math.cos(p * invFreq)), BF16_ROUNDING);
    expectClose(values.filter((_, i) => i % 6 === 1), Float64Array.from(positions, (p) => Math.sin(p * invFreq)), BF16_ROUNDING);
  });

  it('gives the same bits every time and at every thread count', () => {
    expectRepeatable(kernels, () => {
      const rope = { N: 100, heads: 3, kvHeads: 1, K: 16 };
      const { handles } = inputs(rope, 5);
      kernels.ropeForward(...handles, 3, 1);
      return [tensors.bits(handles[0])];
    }, { across: 'threads' });
  });

  it('refuses heads that do not fit, wrong shapes and dtypes', () => {
    const [qkv, positions, invFreq] = [tensors.bf16([2, 24]), tensors.i32([2]), tensors.f32([2])];
    expect(codeOf(() => kernels.ropeForward(qkv, positions, invFreq, 4, 1))).toBe('none');
    expect(codeOf(() => kernels.ropeForward(qkv, positions, invFreq, 3, 2))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.ropeForward(qkv, positions, invFreq, 3, 1))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.ropeForward(qkv, positions, tensors.f32([4]), 4, 1))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.ropeForward(qkv, tensors.i32([3]), invFreq, 4, 1))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.ropeForward(tensors.bf16([2, 9]), positions, invFreq, 1, 1))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.ropeForward(tensors.f32([2, 24]), positions, invFreq, 4, 1))).toBe('kernels.bad_dtype');
    expect(codeOf(() => kernels.ropeForward(qkv, positions, invFreq, 0, 1))).toBe('kernels.bad_value');
    expect(codeOf(() => kernels.ropeBackward(qkv, positions, invFreq, 1.5, 1))).toBe('kernels.bad_value');
  });
});
