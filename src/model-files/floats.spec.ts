import { describe, expect, it } from 'vitest';
import { bf16FromFloat32, float32FromBf16, float32FromF16, toBf16Bits, toFloat32 } from './floats.js';

const bits = (...patterns: number[]) => new Float32Array(Uint32Array.from(patterns).buffer);

describe('bf16FromFloat32', () => {
  it.each([
    ['an exact value', 0x3f800000, 0x3f80],
    ['below the middle, down', 0x3f807fff, 0x3f80],
    ['the middle above an even neighbour, down', 0x3f808000, 0x3f80],
    ['the middle above an odd neighbour, up', 0x3f818000, 0x3f82],
    ['above the middle, up', 0x3f808001, 0x3f81],
    ['negative, away from zero', 0xbf808001, 0xbf81],
    ['the largest float32, to infinity', 0x7f7fffff, 0x7f80],
    ['infinity', 0x7f800000, 0x7f80],
    ['the smallest subnormal, to zero', 0x00000001, 0x0000],
    ['negative zero', 0x80000000, 0x8000],
  ])('rounds %s', (_what, from, to) => {
    expect(bf16FromFloat32(bits(from))[0]).toBe(to);
  });

  it('keeps NaN whose payload lies in the lost half', () => {
    expect(float32FromBf16(bf16FromFloat32(bits(0x7f800001, 0xffffffff)))).toEqual(Float32Array.of(NaN, NaN));
  });
});

describe('float32FromF16', () => {
  it.each([
    [0x0000, 0], [0x8000, -0], [0x3c00, 1], [0xc000, -2], [0x7bff, 65504], [0x0400, 2 ** -14], [0x0001, 2 ** -24], [0x83ff, -1023 * 2 ** -24],
    [0x3555, 0.333251953125], [0x7c00, Infinity], [0xfc00, -Infinity], [0x7e00, NaN],
  ])('reads %i as %f', (pattern, value) => {
    expect(float32FromF16(pattern)).toBe(value);
  });
});

describe('toFloat32 and toBf16Bits', () => {
  const shifted = (bytes: number[]) => Uint8Array.from([0, ...bytes]).subarray(1);

  it('read each float kind from bytes at an odd address', () => {
    expect(toFloat32({ name: 'x', dtype: 'BF16', shape: [1], bytes: shifted([0x80, 0x3f]) })).toEqual(Float32Array.of(1));
    expect(toFloat32({ name: 'x', dtype: 'F16', shape: [1], bytes: shifted([0x00, 0x3c]) })).toEqual(Float32Array.of(1));
    expect(toFloat32({ name: 'x', dtype: 'F32', shape: [1], bytes: shifted([0, 0, 0x80, 0x3f]) })).toEqual(Float32Array.of(1));
    expect(toBf16Bits({ name: 'x', dtype: 'F16', shape: [1], bytes: shifted([0x55, 0x35]) })).toEqual(Uint16Array.of(0x3eab));
    expect(toBf16Bits({ name: 'x', dtype: 'BF16', shape: [1], bytes: shifted([0x34, 0x12]) })).toEqual(Uint16Array.of(0x1234));
  });

  it('refuse whole numbers by name', () => {
    expect(() => toFloat32({ name: 'ids', dtype: 'I64', shape: [1], bytes: new Uint8Array(8) })).toThrow(expect.objectContaining({ code: 'model_files.tensor_kind_invalid' }));
  });
});
