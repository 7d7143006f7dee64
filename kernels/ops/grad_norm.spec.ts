import { afterEach, describe, expect, it } from 'vitest';
import { codeOf, expectClose, expectRepeatable, normals } from '../../test/support/kernels/check.js';
import { roundedToF32 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

function normOf(gradients: readonly ArrayLike<number>[], clip: number): Float64Array {
  const out = tensors.f32([2], [9, 9]);
  kernels.gradNorm(gradients.map((values) => tensors.f32([values.length], values)), clip, out);
  return tensors.values(out);
}

describe('gradNorm', () => {
  it('is 5 for 3 and 4 in two tensors, and clips to the asked norm', () => {
    expectClose(normOf([[3], [0, 4]], 1), [5, 0.2], { relative: 1e-7 });
    expect([...normOf([[3], [4]], 10)]).toEqual([5, 1]);
    expect([...normOf([[3], [4]], 5)]).toEqual([5, 1]);
  });

  it.each([[[1]], [[17, 0, 3]], [[100_003, 8192, 1]]])('matches float64 over tensors of %j elements', (counts) => {
    const gradients = counts.map((count, index) => roundedToF32(normals(count, index + 1, 0.01)));
    const norm = Math.sqrt(gradients.reduce((sum, values) => sum + values.reduce((part, value) => part + value * value, 0), 0));
    expectClose(normOf(gradients, 0.001), [norm, Math.min(1, 0.001 / norm)], { relative: 2e-6 });
  });

  it('does not clip when there is nothing, and never hides what is not finite', () => {
    expect([...normOf([], 1)]).toEqual([0, 1]);
    expect([...normOf([[0, 0]], 1)]).toEqual([0, 1]);
    expect([...normOf([[1, NaN]], 1)]).toEqual([NaN, NaN]);
    expect([...normOf([[1, Infinity]], 1)]).toEqual([Infinity, 0]);
  });

  it('gives the same bits every time and at every thread count', () => {
    const gradients = [normals(50_000, 4), normals(70_000, 5)].map((values) => tensors.f32([values.length], values));
    expectRepeatable(kernels, () => {
      const out = tensors.f32([2]);
      kernels.gradNorm(gradients, 1, out);
      return [tensors.bits(out)];
    }, { across: 'threads' });
  });

  it('refuses wrong dtypes, shapes, handles and a clip that is not above 0', () => {
    const [grad, out] = [tensors.f32([2]), tensors.f32([2])];
    const freed = kernels.alloc('f32', [1]);
    kernels.free(freed);
    expect(codeOf(() => kernels.gradNorm([grad, tensors.bf16([2])], 1, out))).toBe('kernels.bad_dtype');
    expect(codeOf(() => kernels.gradNorm([grad], 1, tensors.f32([3])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.gradNorm([grad, freed], 1, out))).toBe('kernels.bad_handle');
    expect(codeOf(() => kernels.gradNorm([grad], 0, out))).toBe('kernels.bad_value');
    expect(codeOf(() => kernels.gradNorm([grad], -1, out))).toBe('kernels.bad_value');
    expect(codeOf(() => kernels.gradNorm([grad], NaN, out))).toBe('kernels.bad_value');
  });
});
