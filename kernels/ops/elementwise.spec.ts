import { afterEach, describe, expect, it } from 'vitest';
import { codeOf, EXACT, expectClose, normals } from '../../test/support/kernels/check.js';
import { roundedToBf16, roundedToF32 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

const LARGE = 200_003; // several blocks and a ragged end

describe('zero', () => {
  it.each([0, 1, 37, LARGE])('clears %i elements of each type and nothing beside them', (count) => {
    for (const dtype of ['f32', 'bf16', 'i32'] as const) {
      const base = tensors[dtype]([count + 2], new Float64Array(count + 2).fill(3));
      const window = kernels.view(base, 1, [count]);
      kernels.zero(window);
      kernels.free(window);
      const values = tensors.values(base);
      expect([values[0], values[count + 1]]).toEqual([3, 3]);
      expect(values.subarray(1, count + 1).every((value) => value === 0)).toBe(true);
    }
  });
});

describe('convert', () => {
  it.each([0, 1, 37, LARGE])('rounds %i float32 to bf16 and widens them back exactly', (count) => {
    const values = roundedToF32(normals(count, 1, 100));
    const [source, narrow, wide] = [tensors.f32([count], values), tensors.bf16([count]), tensors.f32([count])];
    kernels.convert(source, narrow);
    kernels.convert(narrow, wide);
    expectClose(tensors.values(narrow), roundedToBf16(values), EXACT);
    expectClose(tensors.values(wide), roundedToBf16(values), EXACT);
  });

  it('rounds ties to even and keeps infinities, signed zero, subnormals and NaN', () => {
    const halfway = 2 ** -8; // between 1 and the next bf16
    const values = [1 + halfway, 1 + 3 * halfway, -1 - halfway, Infinity, -Infinity, -0, 2 ** -130, 3.4e38, NaN];
    const narrow = tensors.bf16([values.length]);
    kernels.convert(tensors.f32([values.length], values), narrow);
    expect([...tensors.values(narrow)]).toEqual([1, 1 + 4 * halfway, -1, Infinity, -Infinity, -0, 2 ** -130, Infinity, NaN]);
  });

  it('copies between equal types, whatever the shapes', () => {
    const source = tensors.i32([2, 3], [1, -2, 3, -4, 5, -6]);
    const target = tensors.i32([6]);
    kernels.convert(source, target);
    kernels.convert(target, target);
    expect([...tensors.values(target)]).toEqual([1, -2, 3, -4, 5, -6]);
  });

  it('refuses unequal counts and pairs of types without a conversion', () => {
    expect(codeOf(() => kernels.convert(tensors.f32([2]), tensors.bf16([3])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.convert(tensors.f32([2]), tensors.i32([2])))).toBe('kernels.bad_dtype');
    expect(codeOf(() => kernels.convert(tensors.i32([2]), tensors.bf16([2])))).toBe('kernels.bad_dtype');
  });
});
