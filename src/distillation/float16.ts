const float32 = new Float32Array(1);
const word = new Uint32Array(float32.buffer);

/** IEEE binary16 bits, rounded to nearest even; values beyond the range become infinite. */
export function toFloat16Bits(value: number): number {
  float32[0] = value;
  const bits = word[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Below 2^-14 halves are multiples of 2^-24; both steps are exact, so only this rounding happens.
    float32[0] = value;
    return sign | roundHalfEven(Math.abs(float32[0]) * 2 ** 24);
  }
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
