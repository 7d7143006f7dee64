import { SafetensorsInvalid } from './errors.js';
import { decodeUtf8, isObject, parseJsonObject } from './json-file.js';

/** Element kinds read and written; 8-bit floats and rarer kinds are refused by name. */
export type SafeDType = 'BOOL' | 'U8' | 'I8' | 'I16' | 'U16' | 'F16' | 'BF16' | 'I32' | 'U32' | 'F32' | 'F64' | 'I64' | 'U64';

/** Bytes of one element. */
export const DTYPE_BYTES: Readonly<Record<SafeDType, number>> = {
  BOOL: 1, U8: 1, I8: 1, I16: 2, U16: 2, F16: 2, BF16: 2, I32: 4, U32: 4, F32: 4, F64: 8, I64: 8, U64: 8,
};

/** Where a tensor lies: `begin` and `end` are bytes from the start of the data, `end` exclusive. */
export interface SafetensorsEntry {
  readonly dtype: SafeDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** What the header of a safetensors file says, checked against the size of the data. */
export interface SafetensorsHeader {
  readonly entries: Map<string, SafetensorsEntry>;
  readonly metadata: Record<string, string>;
}

/** Bytes before the header: its length as u64, little-endian. */
export const LENGTH_BYTES = 8;
/** A quarter of the reference parser's limit (safetensors `MAX_HEADER_SIZE`): a header of 100,000 tensors takes about 12 MB. Bytes. */
const MAX_HEADER_BYTES = 25_000_000;
const MAX_TENSORS = 100_000;
const METADATA = '__metadata__';

/** @returns the header's length in bytes. @throws SafetensorsInvalid when it cannot lie in a file of `fileBytes`. */
export function headerLength(first: Uint8Array, fileBytes: number, where: string): number {
  if (first.length < LENGTH_BYTES) throw new SafetensorsInvalid(`${where} has ${fileBytes} bytes; a safetensors file begins with an 8-byte header length`);
  const length = new DataView(first.buffer, first.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  const most = BigInt(Math.min(MAX_HEADER_BYTES, fileBytes - LENGTH_BYTES));
  if (length > most) throw new SafetensorsInvalid(`${where}: the header claims ${length} bytes; at most ${most} can be there`);
  return Number(length);
}

/** @param dataBytes bytes after the header. @throws SafetensorsInvalid, ModelFileMalformed naming the first broken rule. */
export function parseHeader(header: Uint8Array, dataBytes: number, where: string): SafetensorsHeader {
  if (header[0] !== 0x7b) throw new SafetensorsInvalid(`${where}: the header must begin with "{"`);
  const json = parseJsonObject(decodeUtf8(header, `${where}: the header`), `${where}: the header`);
  const fields = Object.entries(json);
  if (fields.length > MAX_TENSORS + 1) throw new SafetensorsInvalid(`${where}: the header names ${fields.length} tensors; at most ${MAX_TENSORS} are read`);
  const entries = new Map<string, SafetensorsEntry>();
  for (const [name, value] of fields) {
    if (name !== METADATA) entries.set(name, parseEntry(value, `${where}: tensor ${JSON.stringify(name)}`));
  }
  checkCover(entries, dataBytes, where);
  return { entries, metadata: parseMetadata(Object.hasOwn(json, METADATA) ? json[METADATA] : {}, where) };
}

/** The length, header and padding of a file whose tensors lie end to end in the order given; data begins on a multiple of 8 bytes. */
export function encodeHeader(tensors: readonly { name: string; dtype: SafeDType; shape: readonly number[] }[], metadata: Record<string, string>): Uint8Array {
  const fields = Object.keys(metadata).length > 0 ? [`${JSON.stringify(METADATA)}:${JSON.stringify(metadata)}`] : [];
  let begin = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = begin + tensorBytes(dtype, shape, `tensor ${JSON.stringify(name)}`);
    fields.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`);
    begin = end;
  }
  const json = new TextEncoder().encode(`{${fields.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  if (padded > MAX_HEADER_BYTES) throw new SafetensorsInvalid(`the header takes ${padded} bytes; at most ${MAX_HEADER_BYTES} are allowed`);
  const bytes = new Uint8Array(LENGTH_BYTES + padded).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, LENGTH_BYTES);
  return bytes;
}

/** Bytes of a tensor. @throws SafetensorsInvalid when a size is not a whole number >= 0 or the product leaves the safe integers. */
export function tensorBytes(dtype: SafeDType, shape: readonly number[], where: string): number {
  let bytes = DTYPE_BYTES[dtype];
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) throw new SafetensorsInvalid(`${where}: shape holds ${size}; sizes are whole numbers >= 0`);
    bytes *= size;
    if (!Number.isSafeInteger(bytes)) throw new SafetensorsInvalid(`${where}: shape [${shape.join(', ')}] is too large to address`);
  }
  return bytes;
}

function parseEntry(value: unknown, where: string): SafetensorsEntry {
  if (!isObject(value)) throw new SafetensorsInvalid(`${where} must be an object with dtype, shape and data_offsets`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDType(dtype)) throw new SafetensorsInvalid(`${where} has dtype ${JSON.stringify(dtype)}; known are ${Object.keys(DTYPE_BYTES).join(' ')}`);
  if (!isNumbers(shape)) throw new SafetensorsInvalid(`${where}: shape must be a list of numbers`);
  if (!isNumbers(offsets) || offsets.length !== 2) throw new SafetensorsInvalid(`${where}: data_offsets must be two numbers`);
  const [begin, end] = offsets;
  if (!Number.isSafeInteger(begin) || !Number.isSafeInteger(end) || begin < 0 || end < begin) {
    throw new SafetensorsInvalid(`${where}: data_offsets [${begin}, ${end}] are not a range of bytes`);
  }
  const bytes = tensorBytes(dtype, shape, where);
  if (end - begin !== bytes) throw new SafetensorsInvalid(`${where}: data_offsets span ${end - begin} bytes where ${dtype} [${shape.join(', ')}] takes ${bytes}`);
  return { dtype, shape, begin, end };
}

function checkCover(entries: Map<string, SafetensorsEntry>, dataBytes: number, where: string): void {
  const inOrder = [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let reached = 0;
  for (const [name, { begin, end }] of inOrder) {
    if (begin !== reached) {
      throw new SafetensorsInvalid(`${where}: tensor ${JSON.stringify(name)} begins at byte ${begin} where ${reached} is next; data may have no holes or overlaps`);
    }
    reached = end;
  }
  if (reached !== dataBytes) throw new SafetensorsInvalid(`${where}: tensors end at byte ${reached} of the data, the file at ${dataBytes}; is it cut off?`);
}

function parseMetadata(value: unknown, where: string): Record<string, string> {
  if (!isObject(value)) throw new SafetensorsInvalid(`${where}: ${METADATA} must be an object of strings`);
  const metadata: Record<string, string> = {};
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw new SafetensorsInvalid(`${where}: ${METADATA} ${JSON.stringify(key)} must be a string`);
    metadata[key] = text;
  }
  return metadata;
}

function isDType(value: unknown): value is SafeDType {
  return typeof value === 'string' && Object.hasOwn(DTYPE_BYTES, value);
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'number');
}
