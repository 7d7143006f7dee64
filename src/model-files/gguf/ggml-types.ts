import { float32FromBf16, float32sFromF16 } from '../floats.js';
import type { GgmlType } from './ggml-blocks.js';
import { K_BLOCKS } from './k-blocks.js';
import { SMALL_BLOCKS } from './small-blocks.js';

/** The kinds that are read, by their code in a file (ggml.h, `enum ggml_type`; layouts: ggml-common.h, formulas: ggml-quants.c). */
export const GGML_TYPES: ReadonlyMap<number, GgmlType> = new Map([
  [0, { name: 'F32', blockValues: 1, blockBytes: 4, dequantise: (bytes) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4) }],
  [1, { name: 'F16', blockValues: 1, blockBytes: 2, dequantise: (bytes) => float32sFromF16(halves(bytes)) }],
  [30, { name: 'BF16', blockValues: 1, blockBytes: 2, dequantise: (bytes) => float32FromBf16(halves(bytes)) }],
  ...SMALL_BLOCKS,
  ...K_BLOCKS,
]);

function halves(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
}
