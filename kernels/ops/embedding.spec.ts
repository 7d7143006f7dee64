import { afterEach, describe, expect, it } from 'vitest';
import { codeOf, expectClose, expectRepeatable, F32_ARITHMETIC, integers, normals } from '../../test/support/kernels/check.js';
import { roundedToBf16, roundedToF32 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

const shapes = [
  { N: 0, V: 3, D: 4 },
  { N: 1, V: 1, D: 1 },
  { N: 7, V: 5, D: 17 },
  { N: 33, V: 11, D: 130 },
];

describe('embeddingForward', () => {
  it.each(shapes)('copies row tokens[n] of $V rows of $D, $N times', ({ N, V, D }) => {
    const tokens = integers(N, 1, V);
    const weight = roundedToBf16(normals(V * D, 2));
    const out = tensors.f32([N, D], normals(N * D, 3));
    kernels.embeddingForward(tensors.i32([N], tokens), tensors.bf16([V, D], weight), out);
    const expected = [...tokens].flatMap((token) => [...weight.subarray(token * D, (token + 1) * D)]);
    expect([...tensors.values(out)]).toEqual(expected);
  });

  it.each([-1, 4])('refuses the token %i of a vocabulary of 4, before any work', (token) => {
    const out = tensors.f32([2, 3], [1, 2, 3, 4, 5, 6]);
    const call = (): void => kernels.embeddingForward(tensors.i32([2], [0, token]), tensors.bf16([4, 3]), out);
    expect(codeOf(call)).toBe('kernels.bad_value');
    expect([...tensors.values(out)]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('refuses wrong shapes, dtypes and handles', () => {
    const tokens = tensors.i32([2]);
    const weight = tensors.bf16([4, 3]);
    expect(codeOf(() => kernels.embeddingForward(tokens, weight, tensors.f32([3, 3])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.embeddingForward(tokens, weight, tensors.f32([2, 4])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.embeddingForward(tokens, weight, tensors.f32([6])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.embeddingForward(tokens, weight, tensors.bf16([2, 3])))).toBe('kernels.bad_dtype');
    const freed = kernels.alloc('f32', [2, 3]);
    kernels.free(freed);
    expect(codeOf(() => kernels.embeddingForward(tokens, weight, freed))).toBe('kernels.bad_handle');
  });
});

describe('embeddingBackward', () => {
  it.each(shapes)('adds $N rows of $D to the rows of their tokens', ({ N, V, D }) => {
    const tokens = integers(N, 4, V);
    const dout = roundedToF32(normals(N * D, 5));
    const before = roundedToF32(normals(V * D, 6));
    const dweight = tensors.f32([V, D], before);
    kernels.embeddingBackward(tensors.i32([N], tokens), tensors.f32([N, D], dout), dweight);
    const expected = Float64Array.from(before);
    for (let n = 0; n < N; n++) for (let d = 0; d < D; d++) expected[tokens[n] * D + d] += dout[n * D + d];
    expectClose(tensors.values(dweight), expected, F32_ARITHMETIC);
  });

  it('adds in token order: the float32 sum from first to last, bit for bit', () => {
    const dout = roundedToF32(normals(50, 7));
    const dweight = tensors.f32([1, 1], [0.1]);
    kernels.embeddingBackward(tensors.i32([50], new Int32Array(50)), tensors.f32([50, 1], dout), dweight);
    expect(tensors.values(dweight)[0]).toBe(dout.reduce((sum, value) => Math.fround(sum + value), Math.fround(0.1)));
  });

  it('gives the same bits every time and at every thread count', () => {
    const tokens = integers(300, 8, 7);
    const dout = normals(300 * 200, 9);
    expectRepeatable(kernels, () => {
      const dweight = tensors.f32([7, 200]);
      kernels.embeddingBackward(tensors.i32([300], tokens), tensors.f32([300, 200], dout), dweight);
      return [tensors.bits(dweight)];
    }, { across: 'threads' });
  });

  it('refuses a token outside the vocabulary', () => {
    const call = (): void => kernels.embeddingBackward(tensors.i32([1], [9]), tensors.f32([1, 2]), tensors.f32([9, 2]));
    expect(codeOf(call)).toBe('kernels.bad_value');
  });
});
