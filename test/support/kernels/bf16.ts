const asFloat = new Float32Array(1);
const asBits = new Uint32Array(asFloat.buffer);

/** The bf16 bit pattern nearest to `value` (through float32; ties to even; NaN stays NaN). */
export function numberToBf16(value: number): number {
  asFloat[0] = value;
  const bits = asBits[0];
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40;
  return Math.min(bits + 0x7fff + ((bits >>> 16) & 1), 0xffffffff) >>> 16;
}

/** Exact. */
export function bf16ToNumber(bits: number): number {
  asBits[0] = bits << 16;
  return asFloat[0];
}

/** Every value rounded to bf16, so that a float64 reference starts from what the kernel sees. */
export function roundedToBf16(values: ArrayLike<number>): Float64Array {
  return Float64Array.from(values, (value) => bf16ToNumber(numberToBf16(value)));
}

/** Every value rounded to float32. */
export function roundedToF32(values: ArrayLike<number>): Float64Array {
  return Float64Array.from(values, Math.fround);
}
