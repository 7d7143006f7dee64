/** A storage kind of ggml: values come in blocks of `blockValues` that take `blockBytes`. */
export interface GgmlType {
  readonly name: string;
  readonly blockValues: number;
  readonly blockBytes: number;
  /** @param bytes whole blocks, from an aligned start. @returns their values in order, as ggml's float32 arithmetic gives them. */
  dequantise(bytes: Uint8Array): Float32Array;
}

/** One block of a tensor: where its bytes begin, and where its values go. */
export interface Block {
  readonly view: DataView;
  readonly at: number;
  readonly values: Float32Array;
  readonly to: number;
}

/** Values and bytes of one block. */
export interface BlockSize {
  readonly values: number;
  readonly bytes: number;
}

/** A kind whose blocks are read one by one. */
export function blockType(name: string, size: BlockSize, read: (block: Block) => void): GgmlType {
  const dequantise = (bytes: Uint8Array): Float32Array => {
    const values = new Float32Array((bytes.length / size.bytes) * size.values);
    const block = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length), at: 0, values, to: 0 };
    for (; block.at < bytes.length; block.at += size.bytes, block.to += size.values) read(block);
    return values;
  };
  return { name, blockValues: size.values, blockBytes: size.bytes, dequantise };
}

/** Codes of the non-linear kinds IQ4_NL and IQ4_XS (ggml-common.h, `kvalues_iq4nl`). */
export const NON_LINEAR: readonly number[] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
