import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { useScratchDir } from '../../test/support/scratch-dir.js';
import { decodeSafetensors, encodeSafetensors, SafetensorsFile, writeSafetensors, type NamedTensor, type SafeDType } from './safetensors.js';

const text = new TextEncoder();

function raw(header: string, dataBytes: number): Uint8Array {
  const json = text.encode(header);
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

function beyondLimit(): Uint8Array {
  const bytes = new Uint8Array(25_000_100);
  new DataView(bytes.buffer).setBigUint64(0, 25_000_001n, true);
  return bytes;
}

function tensor(name: string, dtype: SafeDType, shape: number[], values: number[]): NamedTensor {
  return { name, dtype, shape, bytes: Uint8Array.from(values) };
}

const TENSORS = [
  tensor('b', 'BOOL', [3], [1, 0, 1]),
  tensor('scalar', 'F32', [], [0, 0, 128, 63]),
  tensor('empty', 'I64', [0, 4], []),
  tensor('a', 'BF16', [2, 1], [1, 2, 3, 4]),
  tensor('__proto__', 'U8', [1], [9]),
];

describe('encodeSafetensors', () => {
  it('writes the layout of the specification, data on a multiple of 8', () => {
    const bytes = Buffer.from(encodeSafetensors([tensor('x', 'U8', [2], [7, 8])], { format: 'pt' }));

    const headerBytes = Number(bytes.readBigUInt64LE(0));
    expect(bytes.subarray(8, 8 + headerBytes).toString().trimEnd()).toBe('{"__metadata__":{"format":"pt"},"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}');
    expect(headerBytes % 8).toBe(0);
    expect([...bytes.subarray(8 + headerBytes)]).toEqual([7, 8]);
  });

  it('gives back every tensor and the metadata', () => {
    const { tensors, metadata } = decodeSafetensors(encodeSafetensors(TENSORS, { note: 'é' }), 'memory');

    expect(metadata).toEqual({ note: 'é' });
    expect([...tensors.keys()].sort()).toEqual(['__proto__', 'a', 'b', 'empty', 'scalar']);
    for (const { name, dtype, shape, bytes } of TENSORS) expect(tensors.get(name)).toEqual({ name, dtype, shape, bytes: Buffer.from(bytes) });
  });

  it('gives equal bytes for equal contents in another order', () => {
    expect(encodeSafetensors([...TENSORS].reverse())).toEqual(encodeSafetensors(TENSORS));
  });

  it.each<[string, NamedTensor[]]>([
    ['bytes that do not fill the shape', [tensor('x', 'F32', [2], [0, 0, 0, 0])]],
    ['a name that stands twice', [TENSORS[0], TENSORS[0]]],
    ['the reserved name', [tensor('__metadata__', 'U8', [1], [0])]],
    ['a shape that is no whole number', [tensor('x', 'U8', [1.5], [0])]],
  ])('refuses %s', (_what, tensors) => {
    expect(() => encodeSafetensors(tensors)).toThrow(expect.objectContaining({ code: 'model_files.safetensors_invalid' }));
  });
});

describe('decodeSafetensors', () => {
  const entry = (fields: string) => `{"x":{${fields}}}`;
  const good = '"dtype":"U8","shape":[2],"data_offsets":[0,2]';

  it('reads a header that ends in spaces', () => {
    expect(decodeSafetensors(raw(`${entry(good)}   `, 2), 'f').tensors.get('x')?.shape).toEqual([2]);
  });

  it.each<[string, Uint8Array, RegExp]>([
    ['an empty file', new Uint8Array(0), /begins with an 8-byte header length/],
    ['a header beyond 25 MB', beyondLimit(), /claims 25000001 bytes; at most 25000000/],
    ['more than 100,000 tensors', raw(`{${Array.from({ length: 100_002 }, (_unused, at) => `"${at}":1`).join()}}`, 0), /names 100002 tensors; at most 100000/],
    ['a header longer than the file', Uint8Array.from([9, 0, 0, 0, 0, 0, 0, 0, 123, 125]), /claims 9 bytes; at most 2/],
    ['a header length near 2^64', new Uint8Array(16).fill(255), /claims 18446744073709551615 bytes/],
    ['a header that is no object', raw('[1]', 0), /must begin with "\{"/],
    ['a header that is no JSON', raw('{"x":}', 0), /not valid JSON/],
    ['a header that is not UTF-8', raw(entry(good), 2).map((byte, at) => (at === 10 ? 0xff : byte)), /not valid UTF-8/],
    ['a duplicate tensor', raw(`{"x":{${good}},"\\u0078":{${good}}}`, 2), /names "x" twice/],
    ['a duplicate field', raw(entry(`${good},"dtype":"I8"`), 2), /names "dtype" twice/],
    ['an unknown dtype', raw(entry('"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]'), 2), /dtype "F8_E4M3"; known are/],
    ['an inherited name as dtype', raw(entry('"dtype":"toString","shape":[2],"data_offsets":[0,2]'), 2), /dtype "toString"/],
    ['a negative size', raw(entry('"dtype":"U8","shape":[-2],"data_offsets":[0,2]'), 2), /sizes are whole numbers/],
    ['a product that overflows', raw(entry('"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,2]'), 2), /too large to address/],
    ['a range unlike the shape', raw(entry('"dtype":"U8","shape":[3],"data_offsets":[0,2]'), 2), /span 2 bytes where U8 \[3\] takes 3/],
    ['a range turned round', raw(entry('"dtype":"U8","shape":[2],"data_offsets":[2,0]'), 2), /not a range of bytes/],
    ['offsets beyond 2^53', raw(entry('"dtype":"U8","shape":[2],"data_offsets":[0,1e300]'), 2), /not a range of bytes/],
    ['a range past the end', raw(entry('"dtype":"U8","shape":[4],"data_offsets":[0,4]'), 2), /end at byte 4 of the data, the file at 2/],
    ['bytes left over', raw(entry(good), 3), /end at byte 2 of the data, the file at 3/],
    ['a hole', raw(entry('"dtype":"U8","shape":[2],"data_offsets":[1,3]'), 3), /begins at byte 1 where 0 is next/],
    ['an overlap', raw(`{"x":{${good}},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), /"y" begins at byte 1 where 2 is next/],
    ['metadata that is no text', raw('{"__metadata__":{"n":1}}', 0), /"n" must be a string/],
    ['an entry that is no object', raw('{"x":3}', 0), /must be an object/],
  ])('refuses %s', (_what, bytes, problem) => {
    expect(() => decodeSafetensors(bytes, 'damaged')).toThrow(problem);
    expect(() => decodeSafetensors(bytes, 'damaged')).toThrow(/damaged/);
  });
});

describe('SafetensorsFile', () => {
  const scratch = useScratchDir();

  it('reads single tensors of a written file, lazy ones included', async () => {
    const path = scratch('m.safetensors');
    await writeSafetensors(path, [{ name: 'lazy', dtype: 'U8', shape: [3], read: async () => Uint8Array.of(4, 5, 6) }, ...TENSORS], { k: 'v' });

    const file = await SafetensorsFile.open(path);
    expect(file.metadata).toEqual({ k: 'v' });
    expect(file.entries.get('a')).toMatchObject({ dtype: 'BF16', shape: [2, 1] });
    expect((await file.read('lazy')).bytes).toEqual(Uint8Array.of(4, 5, 6));
    expect((await file.read('a')).bytes).toEqual(Uint8Array.of(1, 2, 3, 4));
    await expect(file.read('other')).rejects.toMatchObject({ code: 'model_files.safetensors_invalid' });
    await file.close();
  });

  it('leaves neither file nor scrap when a lazy tensor fails, and keeps the old file', async () => {
    const path = scratch('m.safetensors');
    writeFileSync(path, 'old');
    const failing = { name: 'x', dtype: 'U8' as const, shape: [3], read: () => Promise.reject(new Error('source gone')) };

    await expect(writeSafetensors(path, [failing])).rejects.toThrow('source gone');

    expect(readdirSync(scratch())).toEqual(['m.safetensors']);
    expect(readFileSync(path, 'utf8')).toBe('old');
  });

  it('refuses a lazy tensor of another length than its shape', async () => {
    const short = { name: 'x', dtype: 'U8' as const, shape: [3], read: async () => new Uint8Array(2) };
    await expect(writeSafetensors(scratch('m.safetensors'), [short])).rejects.toMatchObject({ code: 'model_files.safetensors_invalid' });
  });

  it('refuses a file cut off, a missing file, and one cut off after it was opened', async () => {
    const path = scratch('m.safetensors');
    await writeSafetensors(path, TENSORS);
    const file = await SafetensorsFile.open(path);
    truncateSync(path, readFileSync(path).length - 1);

    await expect(SafetensorsFile.open(path)).rejects.toMatchObject({ code: 'model_files.safetensors_invalid' });
    await expect(file.read('__proto__').then(() => file.read('b'))).rejects.toThrow(/cut off/);
    await file.close();
    await expect(SafetensorsFile.open(scratch('none'))).rejects.toMatchObject({ code: 'model_files.file_missing' });
  });
});
