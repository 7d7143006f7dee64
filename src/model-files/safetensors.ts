import { open, type FileHandle } from 'node:fs/promises';
import { hasCode, writeChunksAtomic } from './atomic.js';
import { ModelFileMissing, SafetensorsInvalid } from './errors.js';
import { DTYPE_BYTES, encodeHeader, headerLength, LENGTH_BYTES, parseHeader, tensorBytes, type SafeDType, type SafetensorsEntry, type SafetensorsHeader } from './safetensors-header.js';

export type { SafeDType, SafetensorsEntry } from './safetensors-header.js';

/** A tensor in memory; `bytes` are row-major and little-endian, exactly product(shape) elements. */
export interface NamedTensor {
  readonly name: string;
  readonly dtype: SafeDType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** A tensor whose bytes are made only when they are written, so that a large model never lies in memory whole. */
export interface LazyTensor {
  readonly name: string;
  readonly dtype: SafeDType;
  readonly shape: readonly number[];
  read(): Promise<Uint8Array>;
}

/**
 * The file as bytes. Tensors lie by falling element size, then by name, so that all are aligned and equal contents give equal bytes.
 * @throws SafetensorsInvalid for a duplicate or reserved name, or bytes that do not fill the shape.
 */
export function encodeSafetensors(tensors: readonly NamedTensor[], metadata: Record<string, string> = {}): Uint8Array {
  const ordered = inFileOrder(tensors);
  const header = encodeHeader(ordered, metadata);
  return Buffer.concat([header, ...ordered.map((tensor) => checkedBytes(tensor, tensor.bytes))]);
}

/** @param where names the bytes in errors. @returns tensors that share memory with `bytes`. @throws SafetensorsInvalid, ModelFileMalformed */
export function decodeSafetensors(bytes: Uint8Array, where: string): { tensors: Map<string, NamedTensor>; metadata: Record<string, string> } {
  const data = LENGTH_BYTES + headerLength(bytes, bytes.length, where);
  const { entries, metadata } = parseHeader(bytes.subarray(LENGTH_BYTES, data), bytes.length - data, where);
  const tensors = new Map<string, NamedTensor>();
  for (const [name, { dtype, shape, begin, end }] of entries) tensors.set(name, { name, dtype, shape, bytes: bytes.subarray(data + begin, data + end) });
  return { tensors, metadata };
}

/** Writes the file aside, synced, renamed. Same order of tensors and errors as `encodeSafetensors`; lazy tensors are read one by one. */
export async function writeSafetensors(path: string, tensors: readonly (NamedTensor | LazyTensor)[], metadata: Record<string, string> = {}): Promise<void> {
  const ordered = inFileOrder(tensors);
  const header = encodeHeader(ordered, metadata);
  await writeChunksAtomic(path, chunks());

  async function* chunks(): AsyncIterable<Uint8Array> {
    yield header;
    for (const tensor of ordered) yield checkedBytes(tensor, 'bytes' in tensor ? tensor.bytes : await tensor.read());
  }
}

/** A safetensors file on disk whose header is checked; tensors are read by their range when asked for. */
export class SafetensorsFile {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: Readonly<Record<string, string>>;

  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
    private readonly dataStart: number,
    { entries, metadata }: SafetensorsHeader,
  ) {
    this.entries = entries;
    this.metadata = metadata;
  }

  /** @throws ModelFileMissing, SafetensorsInvalid, ModelFileMalformed; the file is then closed. */
  static async open(path: string): Promise<SafetensorsFile> {
    const file = await openForReading(path);
    try {
      const { size } = await file.stat();
      const length = headerLength(await readRange(file, { begin: 0, end: Math.min(LENGTH_BYTES, size) }, path), size, path);
      const dataStart = LENGTH_BYTES + length;
      const header = parseHeader(await readRange(file, { begin: LENGTH_BYTES, end: dataStart }, path), size - dataStart, path);
      return new SafetensorsFile(path, file, dataStart, header);
    } catch (cause) {
      await file.close();
      throw cause;
    }
  }

  /** @throws SafetensorsInvalid when there is no such tensor, or the file was cut off since it was opened. */
  async read(name: string): Promise<NamedTensor> {
    const entry = this.entries.get(name);
    if (entry === undefined) throw new SafetensorsInvalid(`${this.path} holds no tensor ${JSON.stringify(name)}`);
    const bytes = await readRange(this.file, { begin: this.dataStart + entry.begin, end: this.dataStart + entry.end }, this.path);
    return { name, dtype: entry.dtype, shape: entry.shape, bytes };
  }

  /**
   * The tensor's bytes in order, in pieces as large as `buffer`, whose size is a multiple of that of an element. Each lies in it until the next is asked for.
   * @throws as `read`
   */
  async *pieces(name: string, buffer: Uint8Array): AsyncGenerator<Uint8Array> {
    const entry = this.entries.get(name);
    if (entry === undefined) throw new SafetensorsInvalid(`${this.path} holds no tensor ${JSON.stringify(name)}`);
    for (let begin = entry.begin; begin < entry.end; begin += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, entry.end - begin));
      await fillFrom(this.file, this.dataStart + begin, piece, this.path);
      yield piece;
    }
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) throw new ModelFileMissing(`${path} is missing`, { cause });
    throw cause;
  }
}

async function readRange(file: FileHandle, { begin, end }: { begin: number; end: number }, path: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(end - begin);
  await fillFrom(file, begin, bytes, path);
  return bytes;
}

async function fillFrom(file: FileHandle, begin: number, bytes: Uint8Array, path: string): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await file.read(bytes, done, Math.min(bytes.length - done, 2 ** 30), begin + done);
    if (bytesRead === 0) throw new SafetensorsInvalid(`${path} ends before byte ${begin + bytes.length}; it was cut off`);
    done += bytesRead;
  }
}

function inFileOrder<T extends NamedTensor | LazyTensor>(tensors: readonly T[]): T[] {
  const names = new Set<string>();
  for (const { name } of tensors) {
    if (names.has(name) || name === '__metadata__') throw new SafetensorsInvalid(`tensor name ${JSON.stringify(name)} is reserved or stands twice`);
    names.add(name);
  }
  return [...tensors].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype] || (a.name < b.name ? -1 : 1));
}

function checkedBytes({ name, dtype, shape }: NamedTensor | LazyTensor, bytes: Uint8Array): Uint8Array {
  const want = tensorBytes(dtype, shape, `tensor ${JSON.stringify(name)}`);
  if (bytes.length === want) return bytes;
  throw new SafetensorsInvalid(`tensor ${JSON.stringify(name)} has ${bytes.length} bytes where ${dtype} [${shape.join(', ')}] takes ${want}`);
}
