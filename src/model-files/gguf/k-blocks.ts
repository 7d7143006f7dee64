import { float32FromF16 } from '../floats.js';
import { blockType, NON_LINEAR, type Block, type GgmlType } from './ggml-blocks.js';

const VALUES = 256;

/**
 * The kinds of 256 values a block ("super-blocks"), by their code: groups of 16 or 32 values share a scale of few bits, and the block a float16 scale of the scales. No product here
 * takes more than 24 bits and every sum is a block's last operation, so computing in float64 gives ggml's float32.
 */
export const K_BLOCKS: readonly (readonly [number, GgmlType])[] = [
  [10, blockType('Q2_K', { values: VALUES, bytes: 84 }, readQ2)],
  [11, blockType('Q3_K', { values: VALUES, bytes: 110 }, readQ3)],
  [12, blockType('Q4_K', { values: VALUES, bytes: 144 }, readQ4)],
  [13, blockType('Q5_K', { values: VALUES, bytes: 176 }, readQ5)],
  [14, blockType('Q6_K', { values: VALUES, bytes: 210 }, readQ6)],
  [15, blockType('Q8_K', { values: VALUES, bytes: 292 }, readQ8)],
  [23, blockType('IQ4_XS', { values: VALUES, bytes: 136 }, readIq4Xs)],
];

/** 16 bytes of scale (low nibble) and minimum (high), 64 bytes of two-bit q, d, dmin; value = d scale q - dmin minimum, 16 values a group. */
function readQ2({ view, at, values, to }: Block): void {
  const d = float32FromF16(view.getUint16(at + 80, true));
  const dmin = float32FromF16(view.getUint16(at + 82, true));
  for (let i = 0; i < VALUES; i++) {
    const group = view.getUint8(at + (i >>> 4));
    values[to + i] = d * (group & 0x0f) * twoBits(view, at + 16, i) - dmin * (group >>> 4);
  }
}

/** 32 bytes of third bits, 64 bytes of two-bit q, 12 bytes of 16 six-bit scales, d; value = d (scale - 32) (q - 4), the 4 only where the third bit is 0. */
function readQ3({ view, at, values, to }: Block): void {
  const d = float32FromF16(view.getUint16(at + 108, true));
  for (let i = 0; i < VALUES; i++) {
    const group = i >>> 4;
    const low = group < 8 ? view.getUint8(at + 96 + group) & 0x0f : view.getUint8(at + 88 + group) >>> 4;
    const high = (view.getUint8(at + 104 + (group & 3)) >>> (2 * (group >>> 2))) & 3;
    const third = (view.getUint8(at + (i & 31)) >>> (i >>> 5)) & 1;
    values[to + i] = d * ((low | (high << 4)) - 32) * (twoBits(view, at + 32, i) - (third === 1 ? 0 : 4));
  }
}

/** d, dmin, 12 bytes of scales and minima, 128 bytes of nibbles q; value = d scale q - dmin minimum, 32 values a group. */
function readQ4({ view, at, values, to }: Block): void {
  const d = float32FromF16(view.getUint16(at, true));
  const dmin = float32FromF16(view.getUint16(at + 2, true));
  for (let group = 0; group < 8; group++) {
    const { scale, minimum } = sixBits(view, at + 4, group);
    for (let i = 32 * group; i < 32 * (group + 1); i++) values[to + i] = d * scale * pairedNibble(view, at + 16, i) - dmin * minimum;
  }
}

/** As Q4_K, with 32 bytes of fifth bits before the nibbles: bit g belongs to group g. */
function readQ5({ view, at, values, to }: Block): void {
  const d = float32FromF16(view.getUint16(at, true));
  const dmin = float32FromF16(view.getUint16(at + 2, true));
  for (let group = 0; group < 8; group++) {
    const { scale, minimum } = sixBits(view, at + 4, group);
    for (let i = 32 * group; i < 32 * (group + 1); i++) {
      const fifth = (view.getUint8(at + 16 + (i & 31)) >>> group) & 1;
      values[to + i] = d * scale * (pairedNibble(view, at + 48, i) | (fifth << 4)) - dmin * minimum;
    }
  }
}

/** 128 bytes of nibbles, 64 bytes of the two bits above them, 16 signed scales, d; value = d scale (q - 32), 16 values a group. */
function readQ6({ view, at, values, to }: Block): void {
  const d = float32FromF16(view.getUint16(at + 208, true));
  for (let i = 0; i < VALUES; i++) {
    const low = (view.getUint8(at + 64 * (i >>> 7) + (i & 63)) >>> (i & 64 ? 4 : 0)) & 0x0f;
    values[to + i] = d * view.getInt8(at + 192 + (i >>> 4)) * ((low | (twoBits(view, at + 128, i) << 4)) - 32);
  }
}

/** d (float32), 256 signed bytes q, 32 bytes of sums; value = d q. */
function readQ8({ view, at, values, to }: Block): void {
  const d = view.getFloat32(at, true);
  for (let i = 0; i < VALUES; i++) values[to + i] = d * view.getInt8(at + 4 + i);
}

/** d, 8 times the upper two bits of a scale, 4 bytes of the lower four, 128 bytes of nibbles that name a code; value = d (scale - 32) code, 32 values a group. */
function readIq4Xs({ view, at, values, to }: Block): void {
  const d = float32FromF16(view.getUint16(at, true));
  const uppers = view.getUint16(at + 2, true);
  for (let group = 0; group < 8; group++) {
    const lower = (view.getUint8(at + 4 + (group >>> 1)) >>> (4 * (group & 1))) & 0x0f;
    const scale = (lower | (((uppers >>> (2 * group)) & 3) << 4)) - 32;
    for (let i = 0; i < 32; i++) values[to + 32 * group + i] = d * scale * NON_LINEAR[(view.getUint8(at + 8 + 16 * group + (i & 15)) >>> (i < 16 ? 0 : 4)) & 0x0f];
  }
}

/** Value i's two bits: 32 bytes hold 128 values, those at distance 32 in the same byte. */
function twoBits(view: DataView, at: number, i: number): number {
  return (view.getUint8(at + 32 * (i >>> 7) + (i & 31)) >>> (2 * ((i >>> 5) & 3))) & 3;
}

/** Value i's nibble: 32 bytes hold 64 values, the low nibbles first. */
function pairedNibble(view: DataView, at: number, i: number): number {
  return (view.getUint8(at + 32 * (i >>> 6) + (i & 31)) >>> (i & 32 ? 4 : 0)) & 0x0f;
}

/** The first four groups have six bits in a byte of their own; those of the last four lie in nibbles and in the two bits left over above the first. */
function sixBits(view: DataView, at: number, group: number): { scale: number; minimum: number } {
  const byte = (index: number): number => view.getUint8(at + index);
  if (group < 4) return { scale: byte(group) & 63, minimum: byte(group + 4) & 63 };
  return { scale: (byte(group + 4) & 0x0f) | ((byte(group - 4) >>> 6) << 4), minimum: (byte(group + 4) >>> 4) | ((byte(group) >>> 6) << 4) };
}
