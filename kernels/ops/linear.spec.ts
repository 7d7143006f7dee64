import { afterEach, describe, expect, it } from 'vitest';
import { codeOf, expectClose, expectRepeatable, expectSameBits, normals, type Tolerance } from '../../test/support/kernels/check.js';
import { roundedToBf16, roundedToF32 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels, type Tensor } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

const shapes = [
  { N: 0, I: 8, O: 8 },
  { N: 5, I: 0, O: 3 },
  { N: 5, I: 3, O: 0 },
  { N: 1, I: 1, O: 1 },
  { N: 1, I: 37, O: 19 },
  { N: 13, I: 48, O: 31 },
  { N: 67, I: 130, O: 96 },
  { N: 300, I: 33, O: 145 },
];
/** Beyond one block of each axis; the products of both gradients put I and O on others. */
const blockShapes = [
  { N: 9, I: 4099, O: 50 },
  { N: 3, I: 49, O: 4101 },
  { N: 4097, I: 5, O: 600 },
  { N: 1400, I: 1600, O: 7 },
];

type Entry = (row: number, column: number) => number;

/** out[m, n] = sum over k of a(m, k) b(k, n), in float64. */
function product([m, n, k]: readonly [number, number, number], at: { readonly a: Entry; readonly b: Entry }): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) for (let l = 0; l < k; l++) out[i * n + j] += at.a(i, l) * at.b(l, j);
  return out;
}

const sumTolerance = (terms: number): Tolerance => ({ relative: 1e-5, absolute: 4e-7 * (terms + 1) });
const roundedTolerance = (terms: number): Tolerance => ({ relative: 2 ** -8 + 1e-5, absolute: 4e-7 * (terms + 1) });

describe('linearForward', () => {
  it.each([...shapes, ...blockShapes])('multiplies [$N, $I] by the transpose of [$O, $I], into bf16 and into float32', ({ N, I, O }) => {
    const x = roundedToBf16(normals(N * I, 1));
    const weight = roundedToBf16(normals(O * I, 2));
    const [narrow, wide] = [tensors.bf16([N, O], normals(N * O, 3)), tensors.f32([N, O], normals(N * O, 3))];
    const inputs = [tensors.bf16([N, I], x), tensors.bf16([O, I], weight)] as const;
    kernels.linearForward(...inputs, narrow);
    kernels.linearForward(...inputs, wide);
    const expected = product([N, O, I], { a: (n, i) => x[n * I + i], b: (i, o) => weight[o * I + i] });
    expectClose(tensors.values(narrow), expected, roundedTolerance(I));
    expectClose(tensors.values(wide), expected, sumTolerance(I));
  });

  it('reads and writes windows of larger tensors', () => {
    const values = roundedToBf16(normals(60, 6));
    const base = tensors.bf16([60], values);
    const [x, weight] = [kernels.view(base, 7, [2, 5]), kernels.view(base, 23, [3, 5])];
    const out = tensors.f32([2, 3]);
    kernels.linearForward(x, weight, out);
    const expected = product([2, 3, 5], { a: (n, i) => values[7 + n * 5 + i], b: (i, o) => values[23 + o * 5 + i] });
    expectClose(tensors.values(out), expected, sumTolerance(5));
    kernels.free(x);
    kernels.free(weight);
  });

  it('refuses wrong shapes and dtypes', () => {
    const [x, weight] = [tensors.bf16([2, 3]), tensors.bf16([4, 3])];
    expect(codeOf(() => kernels.linearForward(x, tensors.bf16([3, 4]), tensors.bf16([2, 4])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.linearForward(x, weight, tensors.bf16([4, 2])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.linearForward(tensors.f32([2, 3]), weight, tensors.bf16([2, 4])))).toBe('kernels.bad_dtype');
    expect(codeOf(() => kernels.linearForward(x, weight, tensors.i32([2, 4])))).toBe('kernels.bad_dtype');
  });
});

describe('linearPacked', () => {
  const packed = (weight: Tensor, O: number, I: number): Tensor => {
    const to = tensors.bf16([kernels.packedElements(O, I)]);
    kernels.packWeight(weight, to);
    return to;
  };

  it.each([...shapes, ...blockShapes, { N: 16, I: 70, O: 40 }, { N: 17, I: 64, O: 33 }, { N: 31, I: 100, O: 65 }, { N: 32, I: 576, O: 960 }, { N: 700, I: 1030, O: 200 }].filter(({ I, O }) => I * O > 0))('has the bits of linearForward: [$N, $I] by [$O, $I]', ({ N, I, O }) => {
    const [x, weight] = [tensors.bf16([N, I], normals(N * I, 1)), tensors.bf16([O, I], normals(O * I, 2))];
    const copy = packed(weight, O, I);
    expectRepeatable(kernels, () => {
      const bits = (['bf16', 'f32'] as const).map((dtype) => {
        const [plain, found] = [tensors[dtype]([N, O]), tensors[dtype]([N, O])];
        kernels.linearForward(x, weight, plain);
        kernels.linearPacked(x, copy, found);
        expectSameBits(tensors.bits(found), tensors.bits(plain));
        return tensors.bits(found);
      });
      return bits;
    }, { across: 'threads' });
  });

  it('refuses another number of elements', () => {
    const [x, weight, out] = [tensors.bf16([2, 3]), tensors.bf16([4, 3]), tensors.bf16([2, 4])];
    expect(codeOf(() => kernels.linearPacked(x, tensors.bf16([12]), out))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.packWeight(weight, tensors.bf16([12])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.linearPacked(x, packed(weight, 4, 3), tensors.i32([2, 4])))).toBe('kernels.bad_dtype');
  });
});

describe('linearBackwardInput', () => {
  it.each([...shapes, ...blockShapes])('multiplies [$N, $O] by [$O, $I]', ({ N, I, O }) => {
    const dout = roundedToBf16(normals(N * O, 7));
    const weight = roundedToBf16(normals(O * I, 8));
    const dx = tensors.bf16([N, I], normals(N * I, 9));
    kernels.linearBackwardInput(tensors.bf16([N, O], dout), tensors.bf16([O, I], weight), dx);
    expectClose(tensors.values(dx), product([N, I, O], { a: (n, o) => dout[n * O + o], b: (o, i) => weight[o * I + i] }), roundedTolerance(O));
  });

  it('refuses wrong shapes and dtypes', () => {
    const [dout, weight] = [tensors.bf16([2, 4]), tensors.bf16([4, 3])];
    expect(codeOf(() => kernels.linearBackwardInput(dout, weight, tensors.bf16([2, 4])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.linearBackwardInput(dout, weight, tensors.f32([2, 3])))).toBe('kernels.bad_dtype');
  });
});

describe('linearBackwardWeight', () => {
  it.each([...shapes, ...blockShapes])('adds the transpose of [$N, $O] times [$N, $I] to what is there', ({ N, I, O }) => {
    const dout = roundedToBf16(normals(N * O, 10));
    const x = roundedToBf16(normals(N * I, 11));
    const before = roundedToF32(normals(O * I, 12));
    const dweight = tensors.f32([O, I], before);
    kernels.linearBackwardWeight(tensors.bf16([N, O], dout), tensors.bf16([N, I], x), dweight);
    const added = product([O, I, N], { a: (o, n) => dout[n * O + o], b: (n, i) => x[n * I + i] });
    expectClose(tensors.values(dweight), added.map((value, index) => value + before[index]), sumTolerance(N));
  });

  it('does not meet what a product before it left behind an odd number of rows', () => {
    const ones = (rows: number, value: number): Tensor => tensors.bf16([rows, 6], new Float64Array(rows * 6).fill(value));
    kernels.linearBackwardWeight(ones(64, Infinity), ones(64, 1), tensors.f32([6, 6]));
    const dweight = tensors.f32([6, 6], new Float64Array(36));
    kernels.linearBackwardWeight(ones(5, 1), ones(5, 1), dweight);
    expect(tensors.values(dweight)).toEqual(new Float64Array(36).fill(5));
  });

  it('refuses wrong shapes and dtypes', () => {
    const [dout, x] = [tensors.bf16([2, 4]), tensors.bf16([2, 3])];
    expect(codeOf(() => kernels.linearBackwardWeight(dout, x, tensors.f32([3, 4])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.linearBackwardWeight(dout, tensors.bf16([3, 3]), tensors.f32([4, 3])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.linearBackwardWeight(dout, x, tensors.bf16([4, 3])))).toBe('kernels.bad_dtype');
  });
});

describe('linear', () => {
  it('adds both blocks of a long sum, neither twice, and keeps what was there', () => {
    const [N, I, O] = [4096 + 37, 17, 5];
    const dweight = tensors.f32([O, I], new Float64Array(O * I).fill(3));
    const ones = (rows: number, columns: number) => tensors.bf16([rows, columns], new Float64Array(rows * columns).fill(1));
    kernels.linearBackwardWeight(ones(N, O), ones(N, I), dweight);
    expect([...tensors.values(dweight)]).toEqual(new Array(O * I).fill(N + 3));
    const out = tensors.f32([I, O]);
    kernels.linearForward(ones(I, N), ones(O, N), out);
    expect([...tensors.values(out)]).toEqual(new Array(I * O).fill(N));
  });

  it('reads nothing behind the end of a row', () => {
    const [N, I, O] = [3, 5, 2];
    const values = new Float64Array(N * I + 1).fill(1).fill(Number.NaN, N * I);
    const base = tensors.bf16([N * I + 1], values);
    const x = kernels.view(base, 0, [N, I]);
    const out = tensors.f32([N, O]);
    kernels.linearForward(x, tensors.bf16([O, I], new Float64Array(O * I).fill(1)), out);
    expect([...tensors.values(out)]).toEqual(new Array(N * O).fill(I));
    kernels.free(x);
  });

  it.each([[300, 131, 100], [160, 4200, 70], [290, 70, 1300]])('gives a row the same bits among any number of rows, forward and to the input: [%i, %i] by [%i]', (N, I, O) => {
    const x = normals(N * I, 18);
    const dout = normals(N * O, 19);
    const weight = tensors.bf16([O, I], normals(O * I, 20));
    const run = (begin: number, rows: number) => {
      const [out, wide, dx] = [tensors.bf16([rows, O]), tensors.f32([rows, O]), tensors.bf16([rows, I])];
      const input = tensors.bf16([rows, I], x.subarray(begin * I, (begin + rows) * I));
      kernels.linearForward(input, weight, out);
      kernels.linearForward(input, weight, wide);
      kernels.linearBackwardInput(tensors.bf16([rows, O], dout.subarray(begin * O, (begin + rows) * O)), weight, dx);
      return [tensors.bits(out), tensors.bits(wide), tensors.bits(dx)] as const;
    };
    const whole = run(0, N);
    for (const [begin, rows] of [[0, 1], [7, 2], [40, 7], [100, 8], [3, 9], [50, 10], [60, 11], [31, 33], [5, 150], [N - 1, 1]]) {
      const part = run(begin, rows);
      part.forEach((bits, which) => {
        const width = bits.length / rows;
        expectSameBits(bits, whole[which].subarray(begin * width, (begin + rows) * width));
      });
    }
  });

  it('gives the same bits every time at 2, 8 and 16 threads, forward and backward', () => {
    const [N, I, O] = [550, 96, 120];
    const [x, weight, dout] = [normals(N * I, 15), normals(O * I, 16), normals(N * O, 17)];
    expectRepeatable(kernels, () => {
      const handles = { x: tensors.bf16([N, I], x), weight: tensors.bf16([O, I], weight), dout: tensors.bf16([N, O], dout) };
      const [out, dx, dweight] = [tensors.bf16([N, O]), tensors.bf16([N, I]), tensors.f32([O, I])];
      kernels.linearForward(handles.x, handles.weight, out);
      kernels.linearBackwardInput(handles.dout, handles.weight, dx);
      kernels.linearBackwardWeight(handles.dout, handles.x, dweight);
      return [tensors.bits(out), tensors.bits(dx), tensors.bits(dweight)];
    }, { across: 'threads' });
  });
});
