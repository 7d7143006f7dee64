import { afterEach, describe, expect, it } from 'vitest';
import { codeOf, expectRepeatable, integers, normals } from '../../test/support/kernels/check.js';
import { roundedToBf16 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

const cases = (['f32', 'bf16'] as const).flatMap((dtype) => [
  { dtype, N: 4, D: 3, rows: [] },
  { dtype, N: 1, D: 1, rows: [0] },
  { dtype, N: 40, D: 19, rows: [39, 0, 7, 8, 21] },
  { dtype, N: 5, D: 0, rows: [3] },
]);

describe('gatherRows and scatterRows', () => {
  it.each(cases)('pick rows $rows of $N ($dtype, width $D) and put them back among zeros', ({ dtype, N, D, rows }) => {
    const x = roundedToBf16(normals(N * D, 1));
    const [source, picked, back] = [tensors[dtype]([N, D], x), tensors[dtype]([rows.length, D]), tensors[dtype]([N, D], x.map(() => 7))];
    const index = tensors.i32([rows.length], rows);
    kernels.gatherRows(source, index, picked);
    kernels.scatterRows(picked, index, back);
    expect([...tensors.values(picked)]).toEqual(rows.flatMap((row) => [...x.subarray(row * D, (row + 1) * D)]));
    const expected = x.map((value, element) => (rows.includes(Math.floor(element / D)) ? value : 0));
    expect(tensors.values(back)).toEqual(expected);
  });

  it('gather the same row as often as asked', () => {
    const out = tensors.f32([3, 2]);
    kernels.gatherRows(tensors.f32([2, 2], [1, 2, 3, 4]), tensors.i32([3], [1, 1, 0]), out);
    expect([...tensors.values(out)]).toEqual([3, 4, 3, 4, 1, 2]);
  });

  it.each(['f32', 'bf16'] as const)('add rows scattered to one place in float32, in order, rounded once (%s)', (dtype) => {
    const [D, rows] = [21, [2, 0, 2, 2, 0]];
    const x = roundedToBf16(normals(rows.length * D, 4));
    const out = tensors[dtype]([3, D], new Float64Array(3 * D).fill(7));
    kernels.scatterRows(tensors[dtype]([rows.length, D], x), tensors.i32([rows.length], rows), out);
    const expected = new Float64Array(3 * D);
    rows.forEach((row, r) => {
      for (let d = 0; d < D; d++) expected[row * D + d] = Math.fround(expected[row * D + d] + x[r * D + d]);
    });
    expect(tensors.values(out)).toEqual(dtype === 'bf16' ? roundedToBf16(expected) : expected);
  });

  it('give the same bits every time and at every thread count', () => {
    const x = normals(200 * 33, 2);
    const rows = integers(100, 3, 200);
    expectRepeatable(kernels, () => {
      const out = tensors.f32([100, 33]);
      kernels.gatherRows(tensors.f32([200, 33], x), tensors.i32([100], rows), out);
      const back = tensors.f32([200, 33]);
      kernels.scatterRows(out, tensors.i32([100], rows), back);
      return [tensors.bits(out), tensors.bits(back)];
    }, { across: 'threads' });
  });

  it('refuse rows outside the matrix before any work', () => {
    const [x, out] = [tensors.f32([3, 2]), tensors.f32([2, 2], [1, 2, 3, 4])];
    expect(codeOf(() => kernels.gatherRows(x, tensors.i32([2], [0, 3]), out))).toBe('kernels.bad_value');
    expect(codeOf(() => kernels.gatherRows(x, tensors.i32([2], [-1, 0]), out))).toBe('kernels.bad_value');
    expect(codeOf(() => kernels.scatterRows(x, tensors.i32([3], [0, 1, 2]), out))).toBe('kernels.bad_value');
    expect([...tensors.values(out)]).toEqual([1, 2, 3, 4]);
  });

  it('refuse wrong shapes and dtypes', () => {
    const [x, rows] = [tensors.f32([3, 2]), tensors.i32([2])];
    expect(codeOf(() => kernels.gatherRows(x, rows, tensors.f32([3, 2])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.gatherRows(x, rows, tensors.f32([2, 3])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.gatherRows(x, rows, tensors.bf16([2, 2])))).toBe('kernels.bad_dtype');
    expect(codeOf(() => kernels.gatherRows(tensors.i32([3, 2]), rows, tensors.i32([2, 2])))).toBe('kernels.bad_dtype');
    expect(codeOf(() => kernels.scatterRows(tensors.f32([2, 2]), tensors.f32([2]), x))).toBe('kernels.bad_dtype');
  });
});
