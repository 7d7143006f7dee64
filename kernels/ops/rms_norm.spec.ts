import { afterEach, describe, expect, it } from 'vitest';
import { BF16_ROUNDING, codeOf, expectClose, expectRepeatable, normals } from '../../test/support/kernels/check.js';
import { roundedToBf16, roundedToF32 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels, NO_TENSOR } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

const EPS = 1e-5;
const shapes = [
  { N: 0, D: 8 },
  { N: 1, D: 1 },
  { N: 3, D: 17 },
  { N: 70, D: 48 },
  { N: 33, D: 130 },
];

function forwardReference(x_ND: Float64Array, weight_D: Float64Array, eps: number): { y_ND: Float64Array; rstd_N: Float64Array } {
  const D = weight_D.length;
  const N = x_ND.length / D;
  const rstd_N = Float64Array.from({ length: N }, (_, n) => {
    const squares = x_ND.subarray(n * D, (n + 1) * D).reduce((sum, value) => sum + value * value, 0);
    return 1 / Math.sqrt(squares / D + eps);
  });
  return { rstd_N, y_ND: x_ND.map((value, index) => value * rstd_N[Math.floor(index / D)] * weight_D[index % D]) };
}

/** The formula of rms_norm.h. */
function backwardReference(dy_ND: Float64Array, x_ND: Float64Array, weight_D: Float64Array): { dx_ND: Float64Array; dweight_D: Float64Array } {
  const D = weight_D.length;
  const { rstd_N } = forwardReference(x_ND, weight_D, EPS);
  const dx_ND = new Float64Array(x_ND.length);
  const dweight_D = new Float64Array(D);
  rstd_N.forEach((r, n) => {
    let dot = 0;
    for (let d = 0; d < D; d++) dot += weight_D[d] * dy_ND[n * D + d] * x_ND[n * D + d];
    for (let d = 0; d < D; d++) {
      dx_ND[n * D + d] = r * weight_D[d] * dy_ND[n * D + d] - (x_ND[n * D + d] * r ** 3 * dot) / D;
      dweight_D[d] += dy_ND[n * D + d] * x_ND[n * D + d] * r;
    }
  });
  return { dx_ND, dweight_D };
}

describe('rmsNormForward', () => {
  const deltas = [
    { dtype: 'bf16', rounded: roundedToBf16 },
    { dtype: 'f32', rounded: roundedToF32 },
  ] as const;

  it.each(deltas.flatMap((delta) => shapes.map((shape) => ({ ...delta, ...shape }))))('adds a $dtype delta and normalises $N rows of $D', ({ dtype, rounded, N, D }) => {
    const residual = roundedToF32(normals(N * D, 1, 3));
    const delta = rounded(normals(N * D, 2));
    const weight = roundedToF32(normals(D, 3));
    const [x, out, rstd] = [tensors.f32([N, D], residual), tensors.bf16([N, D]), tensors.f32([N])];
    kernels.rmsNormForward(x, tensors[dtype]([N, D], delta), tensors.f32([D], weight), EPS, out, rstd);
    const sum = residual.map((value, index) => Math.fround(value + delta[index]));
    const expected = forwardReference(sum, weight, EPS);
    expect([...tensors.values(x)]).toEqual([...sum]);
    expectClose(tensors.values(rstd), expected.rstd_N, { relative: 1e-6 });
    expectClose(tensors.values(out), expected.y_ND, BF16_ROUNDING);
  });

  it('leaves the residual as it is when delta is absent', () => {
    const residual = roundedToF32(normals(40, 4));
    const x = tensors.f32([2, 20], residual);
    const out = tensors.bf16([2, 20]);
    kernels.rmsNormForward(x, NO_TENSOR, tensors.f32([20], new Float64Array(20).fill(1)), EPS, out, tensors.f32([2]));
    expect([...tensors.values(x)]).toEqual([...residual]);
    expectClose(tensors.values(out), forwardReference(residual, new Float64Array(20).fill(1), EPS).y_ND, BF16_ROUNDING);
  });

  it('divides by eps alone on a row of zeros', () => {
    const rstd = tensors.f32([1]);
    kernels.rmsNormForward(tensors.f32([1, 4]), NO_TENSOR, tensors.f32([4]), 0.25, tensors.bf16([1, 4]), rstd);
    expect(tensors.values(rstd)[0]).toBe(2);
  });

  it('refuses wrong shapes, dtypes, an empty width and a negative eps', () => {
    const [x, w, out, rstd] = [tensors.f32([2, 4]), tensors.f32([4]), tensors.bf16([2, 4]), tensors.f32([2])];
    expect(codeOf(() => kernels.rmsNormForward(x, tensors.bf16([2, 5]), w, EPS, out, rstd))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.rmsNormForward(x, tensors.f32([8]), w, EPS, out, rstd))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.rmsNormForward(x, tensors.i32([2, 4]), w, EPS, out, rstd))).toBe('kernels.bad_dtype');
    expect(codeOf(() => kernels.rmsNormForward(x, NO_TENSOR, tensors.f32([5]), EPS, out, rstd))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.rmsNormForward(x, NO_TENSOR, w, EPS, out, tensors.f32([3])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.rmsNormForward(x, NO_TENSOR, w, EPS, tensors.f32([2, 4]), rstd))).toBe('kernels.bad_dtype');
    expect(codeOf(() => kernels.rmsNormForward(NO_TENSOR, NO_TENSOR, w, EPS, out, rstd))).toBe('kernels.bad_handle');
    expect(codeOf(() => kernels.rmsNormForward(x, NO_TENSOR, w, -1, out, rstd))).toBe('kernels.bad_value');
    const empty = [tensors.f32([2, 0]), tensors.f32([0]), tensors.bf16([2, 0])] as const;
    expect(codeOf(() => kernels.rmsNormForward(empty[0], NO_TENSOR, empty[1], EPS, empty[2], rstd))).toBe('kernels.bad_shape');
  });
});

describe('rmsNormBackward', () => {
  function run(N: number, D: number) {
    const x = roundedToF32(normals(N * D, 5, 2));
    const weight = roundedToF32(normals(D, 6));
    const dy = roundedToBf16(normals(N * D, 7));
    const before = { dx: roundedToF32(normals(N * D, 8)), dweight: roundedToF32(normals(D, 9)) };
    const handles = { dx: tensors.f32([N, D], before.dx), dweight: tensors.f32([D], before.dweight), ddelta: tensors.bf16([N, D]) };
    const rstd = tensors.f32([N], forwardReference(x, weight, EPS).rstd_N);
    const inputs = [tensors.bf16([N, D], dy), tensors.f32([N, D], x), tensors.f32([D], weight), rstd] as const;
    kernels.rmsNormBackward(...inputs, handles.dx, handles.dweight, handles.ddelta);
    return { x, weight, dy, before, handles, inputs };
  }

  it.each(shapes)('adds both gradients and rounds the residual gradient, $N rows of $D', ({ N, D }) => {
    const { x, weight, dy, before, handles } = run(N, D);
    const expected = backwardReference(dy, x, weight);
    const dx = expected.dx_ND.map((value, index) => value + before.dx[index]);
    expectClose(tensors.values(handles.dx), dx, { relative: 1e-5, absolute: 1e-5 });
    expectClose(tensors.values(handles.dweight), expected.dweight_D.map((value, d) => value + before.dweight[d]), { relative: 1e-5, absolute: 2e-5 });
    expect([...tensors.values(handles.ddelta)]).toEqual([...roundedToBf16(tensors.values(handles.dx))]);
  });

  it('uses a formula that central differences confirm', () => {
    const [N, D] = [2, 5];
    const x = normals(N * D, 10);
    const weight = normals(D, 11);
    const dy = normals(N * D, 12);
    const loss = (): number => forwardReference(x, weight, EPS).y_ND.reduce((sum, value, index) => sum + value * dy[index], 0);
    const slope = (values: Float64Array): Float64Array => values.slice().map((value, index) => {
      const step = 1e-5;
      values[index] = value + step;
      const above = loss();
      values[index] = value - step;
      const below = loss();
      values[index] = value;
      return (above - below) / (2 * step);
    });
    const { dx_ND, dweight_D } = backwardReference(dy, x, weight);
    expectClose(slope(x), dx_ND, { absolute: 1e-8 });
    expectClose(slope(weight), dweight_D, { absolute: 1e-8 });
  });

  it('works without ddelta', () => {
    const { handles, inputs } = run(3, 17);
    const once = tensors.values(handles.dweight);
    kernels.rmsNormBackward(...inputs, handles.dx, handles.dweight, NO_TENSOR);
    expect(tensors.values(handles.dweight)).not.toEqual(once);
  });

  it('gives the same bits every time and at every thread count', () => {
    expectRepeatable(kernels, () => {
      const { handles } = run(200, 100);
      return [tensors.bits(handles.dx), tensors.bits(handles.dweight), tensors.bits(handles.ddelta)];
    }, { across: 'threads' });
  });

  it('refuses wrong shapes and dtypes before any work', () => {
    const { handles, inputs } = run(3, 4);
    const before = tensors.values(handles.dx);
    const call = (dweight = handles.dweight, ddelta = handles.ddelta) => () => kernels.rmsNormBackward(...inputs, handles.dx, dweight, ddelta);
    expect(codeOf(call(tensors.f32([3])))).toBe('kernels.bad_shape');
    expect(codeOf(call(tensors.bf16([4])))).toBe('kernels.bad_dtype');
    expect(codeOf(call(undefined, tensors.bf16([4, 3])))).toBe('kernels.bad_shape');
    expect(tensors.values(handles.dx)).toEqual(before);
  });
});
