/** Type codes of GGUF metadata values used here. */
export const GGUF_TYPES = { u8: 0, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, u64: 10 } as const;

/** A metadata value as it is written: numbers say their type, texts and truth values speak for themselves. */
export type GgufInput = string | boolean | { u32: number } | { f32: number } | { i32s: readonly number[] } | { texts: readonly string[] } | { raw: Uint8Array };

/** A tensor as it is written; `fastestFirst` is ggml's order of sizes, `code` its storage kind. */
export interface GgufTensorInput {
  readonly name: string;
  readonly fastestFirst: readonly number[];
  readonly code: number;
  readonly bytes: Uint8Array;
}

/** Writes a GGUF version 3 file, tensors end to end on multiples of 32 bytes: the specification, without a library. */
export function buildGguf(metadata: Readonly<Record<string, GgufInput>>, tensors: readonly GgufTensorInput[], version = 3): Uint8Array {
  const pairs = Object.entries(metadata).flatMap(([key, value]) => [text(key), typed(value)]);
  let offset = 0;
  const infos = tensors.map(({ name, fastestFirst, code, bytes }) => {
    const info = Buffer.concat([text(name), u32(fastestFirst.length), ...fastestFirst.map(u64), u32(code), u64(offset)]);
    offset += padded(bytes).length;
    return info;
  });
  const head = Buffer.concat([Buffer.from('GGUF'), u32(version), u64(tensors.length), u64(Object.keys(metadata).length), ...pairs, ...infos]);
  return Buffer.concat([padded(head), ...tensors.map(({ bytes }) => padded(bytes))]);
}

/** A text as GGUF writes it: its length as u64, then UTF-8. */
export function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function typed(value: GgufInput): Uint8Array {
  if (typeof value === 'string') return Buffer.concat([u32(GGUF_TYPES.string), text(value)]);
  if (typeof value === 'boolean') return Buffer.concat([u32(GGUF_TYPES.bool), Buffer.of(value ? 1 : 0)]);
  if ('u32' in value) return Buffer.concat([u32(GGUF_TYPES.u32), u32(value.u32)]);
  if ('f32' in value) return Buffer.concat([u32(GGUF_TYPES.f32), Buffer.from(Float32Array.of(value.f32).buffer)]);
  if ('i32s' in value) return Buffer.concat([u32(GGUF_TYPES.array), u32(GGUF_TYPES.i32), u64(value.i32s.length), Buffer.from(Int32Array.from(value.i32s).buffer)]);
  if ('texts' in value) return Buffer.concat([u32(GGUF_TYPES.array), u32(GGUF_TYPES.string), u64(value.texts.length), ...value.texts.map(text)]);
  return value.raw;
}

function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((32 - (bytes.length % 32)) % 32)]);
}
