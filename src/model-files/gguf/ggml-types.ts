import { float32FromBf16, float32FromF16 } from '../floats.js';

/** A storage kind of ggml: values come in blocks of `blockValues` that take `blockBytes`. */
export interface GgmlType {
  readonly name: string;
  readonly blockValues: number;
  readonly blockBytes: number;
  /** @param bytes whole blocks, from an aligned start. @returns their values in order, as ggml's float32 arithmetic gives them. */
  dequantise(bytes: Uint8Array): Float32Array;
}

const BLOCK = 32;

/** The kinds that are read, by their code in a file (ggml.h, `enum ggml_type`; layouts: ggml-common.h, formulas: ggml-quants.c). */
export const GGML_TYPES: ReadonlyMap<number, GgmlType> = new Map([
  [0, { name: 'F32', blockValues: 1, blockBytes: 4, dequantise: (bytes) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4) }],
  [1, { name: 'F16', blockValues: 1, blockBytes: 2, dequantise: (bytes) => Float32Array.from(halves(bytes), float32FromF16) }],
  [2, { name: 'Q4_0', blockValues: BLOCK, blockBytes: 18, dequantise: fromQ4_0 }],
  [3, { name: 'Q4_1', blockValues: BLOCK, blockBytes: 20, dequantise: fromQ4_1 }],
  [8, { name: 'Q8_0', blockValues: BLOCK, blockBytes: 34, dequantise: fromQ8_0 }],
  [30, { name: 'BF16', blockValues: 1, blockBytes: 2, dequantise: (bytes) => float32FromBf16(halves(bytes)) }],
]);

/** Block: scale d (float16), 32 signed bytes q; value = d q. */
function fromQ8_0(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const values = new Float32Array((bytes.length / 34) * BLOCK);
  for (let block = 0, at = 0; at < bytes.length; block += BLOCK, at += 34) {
    const d = float32FromF16(view.getUint16(at, true));
    for (let i = 0; i < BLOCK; i++) values[block + i] = d * view.getInt8(at + 2 + i);
  }
  return values;
}

/** Block: scale d (float16), 16 bytes of nibbles q; value = d (q - 8). */
function fromQ4_0(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const values = new Float32Array((bytes.length / 18) * BLOCK);
  for (let block = 0, at = 0; at < bytes.length; block += BLOCK, at += 18) {
    const d = float32FromF16(view.getUint16(at, true));
    unpackNibbles(bytes.subarray(at + 2, at + 18), (i, q) => void (values[block + i] = d * (q - 8)));
  }
  return values;
}

/** Block: scale d and minimum m (float16), 16 bytes of nibbles q; value = d q + m. */
function fromQ4_1(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const values = new Float32Array((bytes.length / 20) * BLOCK);
  for (let block = 0, at = 0; at < bytes.length; block += BLOCK, at += 20) {
    const d = float32FromF16(view.getUint16(at, true));
    const m = float32FromF16(view.getUint16(at + 2, true));
    unpackNibbles(bytes.subarray(at + 4, at + 20), (i, q) => void (values[block + i] = d * q + m));
  }
  return values;
}

/** The low nibbles are the first half of a block, the high ones the second. */
function unpackNibbles(packed: Uint8Array, put: (index: number, q: number) => void): void {
  for (let i = 0; i < packed.length; i++) {
    put(i, packed[i] & 0x0f);
    put(i + packed.length, packed[i] >>> 4);
  }
}

function halves(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
}
