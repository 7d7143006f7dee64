import { open, type FileHandle } from 'node:fs/promises';
import { hasCode } from '../atomic.js';
import { GgufInvalid, ModelFileMissing } from '../errors.js';
import type { GgmlType } from './ggml-blocks.js';
import { GGML_TYPES } from './ggml-types.js';
import { GgufCursor, type GgufValue } from './gguf-cursor.js';

/** Where a tensor lies; `shape` is row-major (ggml's own order, fastest first, turned round), `begin` counts bytes from the file's start. */
export interface GgufTensor {
  readonly name: string;
  readonly type: GgmlType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly bytes: number;
}

const MAGIC = 0x46554747;
const VERSIONS: readonly number[] = [2, 3];
const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 2 ** 20;
const MAX_DIMENSIONS = 4;
/** Key length, type code and one byte of value; name length, dimension count, one size, type code and offset. */
const MIN_PAIR_BYTES = 13;
const MIN_TENSOR_BYTES = 32;
/** Metadata and tensor list lie within this; the largest vocabularies take about 20 MB. Bytes. */
const MAX_HEADER_BYTES = 25_000_000;
const MAX_TENSORS = 100_000;

/** A GGUF file, versions 2 and 3, little-endian, whose every count, length and range was checked against the file's size. */
export class GgufFile {
  private constructor(
    readonly path: string,
    readonly metadata: ReadonlyMap<string, GgufValue>,
    readonly tensors: ReadonlyMap<string, GgufTensor>,
    private readonly file: FileHandle,
  ) {}

  /** @throws ModelFileMissing, GgufInvalid; the file is then closed. */
  static async open(path: string): Promise<GgufFile> {
    const file = await openForReading(path);
    try {
      const { size } = await file.stat();
      const head = new Uint8Array(Math.min(size, MAX_HEADER_BYTES));
      await fill(file, { bytes: head, position: 0 }, path);
      const { metadata, tensors } = parse(new GgufCursor(head, path), size);
      return new GgufFile(path, metadata, tensors, file);
    } catch (cause) {
      await file.close();
      throw cause;
    }
  }

  /** The tensor's values as float32, row-major. @throws GgufInvalid when there is none of this name or the file was cut off since. */
  async values(name: string): Promise<Float32Array> {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) throw new GgufInvalid(`${this.path} holds no tensor ${JSON.stringify(name)}`);
    const bytes = new Uint8Array(tensor.bytes);
    await fill(this.file, { bytes, position: tensor.begin }, this.path);
    return tensor.type.dequantise(bytes);
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

type Contents = { metadata: Map<string, GgufValue>; tensors: Map<string, GgufTensor> };

function parse(cursor: GgufCursor, fileBytes: number): Contents {
  if (cursor.u32() !== MAGIC) throw cursor.invalid('this is not a GGUF file: it does not begin with "GGUF"');
  const version = cursor.u32();
  if (!VERSIONS.includes(version)) throw cursor.invalid(`GGUF version ${version} (or a big-endian file); versions ${VERSIONS.join(' and ')}, little-endian, are read`);
  const tensorCount = cursor.count('the number of tensors', MIN_TENSOR_BYTES);
  if (tensorCount > MAX_TENSORS) throw cursor.invalid(`the file holds ${tensorCount} tensors; at most ${MAX_TENSORS} are read`);
  const metadata = parseMetadata(cursor, cursor.count('the number of metadata pairs', MIN_PAIR_BYTES));
  const listed = Array.from({ length: tensorCount }, () => parseTensor(cursor));
  const alignment = checkedAlignment(cursor, metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT);
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  return { metadata, tensors: placed(cursor, listed, { alignment, dataStart, fileBytes }) };
}

function parseMetadata(cursor: GgufCursor, count: number): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>();
  for (let pair = 0; pair < count; pair++) {
    const key = cursor.string(`metadata key ${pair}`);
    if (metadata.has(key)) throw cursor.invalid(`metadata key ${JSON.stringify(key)} stands twice`);
    metadata.set(key, cursor.value(cursor.u32(), JSON.stringify(key)));
  }
  return metadata;
}

/** `begin` of the result still counts from the start of the data. */
function parseTensor(cursor: GgufCursor): GgufTensor {
  const name = cursor.string('a tensor name');
  const where = `tensor ${JSON.stringify(name)}`;
  const dimensions = cursor.u32();
  if (dimensions < 1 || dimensions > MAX_DIMENSIONS) throw cursor.invalid(`${where} has ${dimensions} dimensions; 1 to ${MAX_DIMENSIONS} are allowed`);
  const fastestFirst = Array.from({ length: dimensions }, () => cursor.size(`a size of ${where}`));
  const code = cursor.u32();
  const type = GGML_TYPES.get(code);
  if (type === undefined) {
    const known = [...GGML_TYPES.values()].map(({ name: kind }) => kind).join(' ');
    throw cursor.invalid(`${where} is stored in ggml type ${code}; read are ${known}. Convert or quantise the model to one of these`);
  }
  if (fastestFirst[0] % type.blockValues !== 0) throw cursor.invalid(`${where}: rows of ${fastestFirst[0]} do not divide into ${type.name} blocks of ${type.blockValues}`);
  const bytes = fastestFirst.reduce((product, size) => product * size, 1) * (type.blockBytes / type.blockValues);
  if (!Number.isSafeInteger(bytes)) throw cursor.invalid(`${where} has sizes ${fastestFirst.join(' x ')}, beyond any file`);
  return { name, type, shape: fastestFirst.reverse(), begin: cursor.size(`the offset of ${where}`), bytes };
}

function checkedAlignment(cursor: GgufCursor, alignment: GgufValue): number {
  const isPower = typeof alignment === 'number' && Number.isInteger(Math.log2(alignment)) && alignment >= 1 && alignment <= MAX_ALIGNMENT;
  if (!isPower) throw cursor.invalid(`general.alignment is ${JSON.stringify(alignment)}; it must be a power of two up to ${MAX_ALIGNMENT}`);
  return alignment;
}

function placed(cursor: GgufCursor, listed: readonly GgufTensor[], file: { alignment: number; dataStart: number; fileBytes: number }): Map<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>();
  let reached = file.dataStart;
  for (const tensor of [...listed].sort((a, b) => a.begin - b.begin)) {
    const where = `tensor ${JSON.stringify(tensor.name)}`;
    const begin = file.dataStart + tensor.begin;
    if (tensors.has(tensor.name)) throw cursor.invalid(`${where} stands twice`);
    if (tensor.begin % file.alignment !== 0) throw cursor.invalid(`${where} begins at ${tensor.begin}, not on a multiple of ${file.alignment}`);
    if (begin < reached) throw cursor.invalid(`${where} begins at byte ${begin} of the file, inside the tensor before it`);
    if (begin + tensor.bytes > file.fileBytes) throw cursor.invalid(`${where} ends at byte ${begin + tensor.bytes}; the file has ${file.fileBytes}. Is it cut off?`);
    reached = begin + tensor.bytes;
    tensors.set(tensor.name, { ...tensor, begin });
  }
  return tensors;
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) throw new ModelFileMissing(`${path} does not exist`, { cause });
    throw cause;
  }
}

async function fill(file: FileHandle, { bytes, position }: { bytes: Uint8Array; position: number }, path: string): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, done, Math.min(bytes.length - done, 2 ** 30), position + done);
    if (bytesRead === 0) throw new GgufInvalid(`${path} ends at byte ${position + done}; it was cut off while being read`);
    done += bytesRead;
  }
}
