import { describe, expect, it } from 'vitest';
import { float32FromF16 } from '../model-files/floats.js';
import { toFloat16Bits } from './float16.js';

describe('float16', () => {
  it.each([
    [0, 0x0000],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [65519.99, 0x7bff],
    [65520, 0x7c00],
    [-Infinity, 0xfc00],
    [2 ** -14, 0x0400],
    [2 ** -24, 0x0001],
    [2 ** -25, 0x0000],
    [1.5 * 2 ** -24, 0x0002],
    [-0.333251953125, 0xb555],
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
  ])('writes %d as IEEE 754 says', (value, bits) => {
    expect(toFloat16Bits(value)).toBe(bits);
  });

  it('keeps every finite half and tells NaN', () => {
    const changed = Array.from({ length: 0x10000 }, (_, bits) => bits).filter((bits) => !Number.isNaN(float32FromF16(bits)) && toFloat16Bits(float32FromF16(bits)) !== bits);

    expect(changed).toEqual([]);
    expect(float32FromF16(toFloat16Bits(NaN))).toBeNaN();
  });
});
