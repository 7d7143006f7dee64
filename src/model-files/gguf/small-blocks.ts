import { float32FromF16 } from '../floats.js';
import { blockType, NON_LINEAR, type Block, type GgmlType } from './ggml-blocks.js';

const VALUES = 32;
const HALF = VALUES / 2;

/**
 * The kinds of 32 values a block, by their code. d and m are float16; nibbles: the low ones of 16 bytes are a block's first half, the high ones its second. No product or sum here
 * rounds before its end, so computing in float64 gives ggml's float32.
 */
export const SMALL_BLOCKS: readonly (readonly [number, GgmlType])[] = [
  [2, blockType('Q4_0', { values: VALUES, bytes: 18 }, readQ4_0)],
  [3, blockType('Q4_1', { values: VALUES, bytes: 20 }, readQ4_1)],
  [6, blockType('Q5_0', { values: VALUES, bytes: 22 }, readQ5_0)],
  [7, blockType('Q5_1', { values: VALUES, bytes: 24 }, readQ5_1)],
  [8, blockType('Q8_0', { values: VALUES, bytes: 34 }, readQ8_0)],
  [20, blockType('IQ4_NL', { values: VALUES, bytes: 18 }, readIq4Nl)],
];

/** d, nibbles q; value = d (q - 8). */
function readQ4_0({ view, at, values, to }: Block): void {
  const d = float32FromF16(view.getUint16(at, true));
  for (let i = 0; i < VALUES; i++) values[to + i] = d * (nibble(view, at + 2, i) - 8);
}

/** d, m, nibbles q; value = d q + m. */
function readQ4_1({ view, at, values, to }: Block): void {
  const d = float32FromF16(view.getUint16(at, true));
  const m = float32FromF16(view.getUint16(at + 2, true));
  for (let i = 0; i < VALUES; i++) values[to + i] = d * nibble(view, at + 4, i) + m;
}

/** d, 32 fifth bits, nibbles; value = d (q - 16) of the five bits. */
function readQ5_0({ view, at, values, to }: Block): void {
  const d = float32FromF16(view.getUint16(at, true));
  const fifths = view.getUint32(at + 2, true);
  for (let i = 0; i < VALUES; i++) values[to + i] = d * ((nibble(view, at + 6, i) | (((fifths >>> i) & 1) << 4)) - 16);
}

/** d, m, 32 fifth bits, nibbles; value = d q + m of the five bits. */
function readQ5_1({ view, at, values, to }: Block): void {
  const d = float32FromF16(view.getUint16(at, true));
  const m = float32FromF16(view.getUint16(at + 2, true));
  const fifths = view.getUint32(at + 4, true);
  for (let i = 0; i < VALUES; i++) values[to + i] = d * (nibble(view, at + 8, i) | (((fifths >>> i) & 1) << 4)) + m;
}

/** d, 32 signed bytes q; value = d q. */
function readQ8_0({ view, at, values, to }: Block): void {
  const d = float32FromF16(view.getUint16(at, true));
  for (let i = 0; i < VALUES; i++) values[to + i] = d * view.getInt8(at + 2 + i);
}

/** d, nibbles that name one of 16 fixed codes; value = d code. */
function readIq4Nl({ view, at, values, to }: Block): void {
  const d = float32FromF16(view.getUint16(at, true));
  for (let i = 0; i < VALUES; i++) values[to + i] = d * NON_LINEAR[nibble(view, at + 2, i)];
}

function nibble(view: DataView, at: number, i: number): number {
  return i < HALF ? view.getUint8(at + i) & 0x0f : view.getUint8(at + i - HALF) >>> 4;
}
