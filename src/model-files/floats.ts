import { TensorKindInvalid } from './errors.js';
import type { NamedTensor } from './safetensors.js';

/** The tensor's values as float32, in a new array. Exact for BF16, F16 and F32. @throws TensorKindInvalid for other kinds. */
export function toFloat32(tensor: NamedTensor): Float32Array {
  const bytes = ownBytes(tensor);
  if (tensor.dtype === 'F32') return new Float32Array(bytes);
  if (tensor.dtype === 'BF16') return float32FromBf16(new Uint16Array(bytes));
  if (tensor.dtype === 'F16') return float32sFromF16(new Uint16Array(bytes));
  throw notFloat(tensor);
}

/**
 * Writes values as `toFloat32` gives them to the head of `into`, without other memory. @param bytes start at a multiple of the size of an element.
 * @returns the part of `into` that was written. @throws TensorKindInvalid
 */
export function widenInto(into: Float32Array, { name, dtype, bytes }: Omit<NamedTensor, 'shape'>): Float32Array {
  if (dtype === 'F32') {
    new Uint8Array(into.buffer, into.byteOffset, bytes.length).set(bytes);
    return into.subarray(0, bytes.length / 4);
  }
  if (dtype !== 'BF16' && dtype !== 'F16') throw notFloat({ name, dtype });
  const bits = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  const widened = into.subarray(0, bits.length);
  if (dtype === 'F16') widened.forEach((_, i) => (widened[i] = float32FromF16(bits[i])));
  else widenBf16(bits, new Uint32Array(widened.buffer, widened.byteOffset, widened.length));
  return widened;
}

/** The tensor's values as bfloat16 bit patterns, in a new array; F32 and F16 are rounded once, to nearest even. @throws TensorKindInvalid */
export function toBf16Bits(tensor: NamedTensor): Uint16Array {
  return tensor.dtype === 'BF16' ? new Uint16Array(ownBytes(tensor)) : bf16FromFloat32(toFloat32(tensor));
}

/** bfloat16 is the upper half of a float32. */
export function float32FromBf16(bits: Uint16Array): Float32Array {
  const wide = new Uint32Array(bits.length);
  widenBf16(bits, wide);
  return new Float32Array(wide.buffer);
}

function widenBf16(bits: Uint16Array, wide: Uint32Array): void {
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i] << 16;
}

/** Rounds to nearest, ties to even; values beyond the largest finite bfloat16 become infinite; NaN stays NaN. */
export function bf16FromFloat32(values: Float32Array): Uint16Array {
  const wide = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const isNaN = (wide[i] & 0x7fffffff) > 0x7f800000;
    bits[i] = isNaN ? (wide[i] >>> 16) | 0x40 : (wide[i] + 0x7fff + ((wide[i] >>> 16) & 1)) >>> 16;
  }
  return bits;
}

/** 2^(e - 25) for the exponents of normal binary16 numbers: computing a power each time is ten times slower. */
const POWERS = Float64Array.from({ length: 31 }, (_, exponent) => 2 ** (exponent - 25));

/** The value of an IEEE 754 binary16 bit pattern. */
export function float32FromF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1024 + fraction) * POWERS[exponent];
}

/** The values of many bit patterns. */
export function float32sFromF16(bits: Uint16Array): Float32Array {
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = float32FromF16(bits[i]);
  return values;
}

/** A copy whose start is aligned for typed arrays. */
function ownBytes({ bytes }: NamedTensor): ArrayBuffer {
  const copy = new ArrayBuffer(bytes.length);
  new Uint8Array(copy).set(bytes);
  return copy;
}

function notFloat({ name, dtype }: Pick<NamedTensor, 'name' | 'dtype'>): TensorKindInvalid {
  return new TensorKindInvalid(`tensor ${JSON.stringify(name)} holds ${dtype}; weights are BF16, F16 or F32`);
}
