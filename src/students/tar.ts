import { pipeline } from 'node:stream/promises';
import type { Writable } from 'node:stream';

const BLOCK = 512;
/** The largest size that the eleven octal digits of a header hold; larger ones take a pax record. */
const LARGEST_OCTAL = 8 ** 11 - 1;

/** A file on its way into an archive. */
export interface TarEntry {
  /** Relative, `/`-separated, ASCII, at most 100 characters. */
  readonly name: string;
  readonly bytes: number;
  /** Exactly `bytes` bytes. */
  open(): Promise<AsyncIterable<Uint8Array>>;
}

/** Writes a POSIX tar archive (ustar; a pax record for files from 8 GiB) and ends the stream. Files belong to root, mode 0644, at the time given, Unix seconds. */
export async function writeTar(entries: readonly TarEntry[], time: number, out: Writable): Promise<void> {
  await pipeline(blocks(entries, time), out);
}

async function* blocks(entries: readonly TarEntry[], time: number): AsyncGenerator<Uint8Array> {
  for (const entry of entries) {
    yield* sizeRecord(entry, time);
    yield header({ name: entry.name, bytes: Math.min(entry.bytes, LARGEST_OCTAL), type: '0', time });
    let written = 0;
    for await (const piece of await entry.open()) {
      written += piece.length;
      yield piece;
    }
    if (written !== entry.bytes) throw new Error(`${entry.name} had ${written} bytes where ${entry.bytes} were announced`);
    yield padding(entry.bytes);
  }
  yield Buffer.alloc(2 * BLOCK);
}

function* sizeRecord({ bytes }: TarEntry, time: number): Generator<Uint8Array> {
  if (bytes <= LARGEST_OCTAL) return;
  const field = ` size=${bytes}\n`;
  const record = Buffer.from(`${field.length + 2}${field}`); // two digits count themselves: the record is shorter than 100 bytes
  yield header({ name: 'pax', bytes: record.length, type: 'x', time });
  yield record;
  yield padding(record.length);
}

function header({ name, bytes, type, time }: { name: string; bytes: number; type: string; time: number }): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, 100, 'ascii');
  block.write('0000644\0' + '0000000\0' + '0000000\0', 100, 'ascii');
  block.write(`${octal(bytes, 11)}\0${octal(time, 11)}\0`, 124, 'ascii');
  block.write('        ', 148, 'ascii'); // the checksum counts its own field as spaces
  block.write(type, 156, 'ascii');
  block.write('ustar\u000000', 257, 'ascii');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)}\0 `, 148, 'ascii');
  return block;
}

function padding(bytes: number): Buffer {
  return Buffer.alloc((BLOCK - (bytes % BLOCK)) % BLOCK);
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}
