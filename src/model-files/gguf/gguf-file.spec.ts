import { truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { buildGguf, GGUF_TYPES, text, u32, u64, type GgufInput, type GgufTensorInput } from '../../../test/support/gguf-builder.js';
import { useScratchDir } from '../../../test/support/scratch-dir.js';
import { GgufFile } from './gguf-file.js';

const TENSOR: GgufTensorInput = { name: 't', fastestFirst: [2, 3], code: 0, bytes: new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer) };
const head = (tensors: number | bigint, pairs: number | bigint, ...rest: Uint8Array[]) => Buffer.concat([Buffer.from('GGUF'), u32(3), u64(tensors), u64(pairs), ...rest]);
const info = (fastestFirst: (number | bigint)[], code: number, offset: number | bigint) => Buffer.concat([text('t'), u32(fastestFirst.length), ...fastestFirst.map(u64), u32(code), u64(offset)]);
const nested = (depth: number): Uint8Array => (depth === 0 ? Buffer.concat([u32(GGUF_TYPES.u8), u64(0)]) : Buffer.concat([u32(GGUF_TYPES.array), u64(1), nested(depth - 1)]));
const list = (value: Uint8Array): GgufInput => ({ raw: Buffer.concat([u32(GGUF_TYPES.array), value]) });
const space = Buffer.alloc(256);

describe('GgufFile', () => {
  const scratch = useScratchDir();
  const open = (bytes: Uint8Array) => {
    writeFileSync(scratch('m.gguf'), bytes);
    return GgufFile.open(scratch('m.gguf'));
  };

  it.each([2, 3])('reads metadata and tensors of version %i', async (version) => {
    const metadata: Record<string, GgufInput> = { word: 'é', yes: true, n: { u32: 7 }, x: { f32: 0.5 }, ids: { i32s: [-1, 2] }, words: { texts: ['a', ''] }, big: { raw: Buffer.concat([u32(GGUF_TYPES.u64), u64(2 ** 40)]) }, deep: list(nested(1)) };
    const file = await open(buildGguf(metadata, [{ ...TENSOR, name: 'first', fastestFirst: [6] }, TENSOR], version));

    expect(Object.fromEntries(file.metadata)).toEqual({ word: 'é', yes: true, n: 7, x: 0.5, ids: [-1, 2], words: ['a', ''], big: 2 ** 40, deep: [[]] });
    expect(file.tensors.get('t')).toMatchObject({ shape: [3, 2], bytes: 24 });
    expect([...(await file.values('t'))]).toEqual([1, 2, 3, 4, 5, 6]);
    await expect(file.values('other')).rejects.toMatchObject({ code: 'model_files.gguf_invalid' });
    await file.close();
  });

  it('obeys general.alignment', async () => {
    const file = await open(Buffer.concat([buildGguf({ 'general.alignment': { u32: 8 } }, []), space]));
    expect(file.tensors.size).toBe(0);
    await file.close();
    await expect(open(Buffer.concat([head(1, 1, text('general.alignment'), u32(4), u32(64), info([1], 0, 32)), space]))).rejects.toThrow(/begins at 32, not on a multiple of 64/);
  });

  it.each<[string, Uint8Array, RegExp]>([
    ['an empty file', new Uint8Array(0), /takes 4 bytes; 0 are left/],
    ['another file', Buffer.from('PK\u0003\u0004 and so on, a zip'), /not a GGUF file/],
    ['version 1', Buffer.concat([Buffer.from('GGUF'), u32(1), space]), /GGUF version 1 /],
    ['a big-endian file', Buffer.concat([Buffer.from('GGUF'), u32(0x03000000), space]), /big-endian/],
    ['more tensors than fit', head(1000, 0, space), /number of tensors is 1000; at most 8/],
    ['a tensor count near 2^64', head(2n ** 64n - 1n, 0), /number of tensors is 18446744073709551615, beyond any file/],
    ['more pairs than fit', head(0, 1000, space), /metadata pairs is 1000/],
    ['a key longer than the file', head(0, 1, u64(10_000), space), /metadata key 0 takes 10000 bytes/],
    ['a text that is not UTF-8', head(0, 1, u64(1), Buffer.of(0xff), space), /metadata key 0 is not valid UTF-8/],
    ['a key that stands twice', head(0, 2, text('k'), u32(0), Buffer.of(1), text('k'), u32(0), Buffer.of(1), space), /"k" stands twice/],
    ['an unknown value type', head(0, 1, text('k'), u32(13), space), /"k" has the unknown value type 13/],
    ['an unknown item type', head(0, 1, text('k'), u32(9), u32(77), u64(1), space), /unknown value type 77/],
    ['a truth value of 2', head(0, 1, text('k'), u32(7), Buffer.of(2), space), /truth value of 2/],
    ['more items than fit', head(0, 1, text('k'), u32(9), u32(8), u64(2 ** 33), space), /items of "k" is 8589934592; at most 32/],
    ['lists nested too deep', buildGguf({ k: list(nested(3)) }, []), /nests lists more than 3 deep/],
    ['a tensor without sizes', head(1, 0, info([], 0, 0), space), /has 0 dimensions/],
    ['a tensor of five sizes', head(1, 0, info([1, 1, 1, 1, 1], 0, 0), space), /has 5 dimensions/],
    ['sizes that overflow', head(1, 0, info([2 ** 40, 2 ** 40], 0, 0), space), /beyond any file/],
    ['an unknown storage kind', head(1, 0, info([256], 16, 0), space), /ggml type 16; read are F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ4_XS/],
    ['rows that do not divide into blocks', head(1, 0, info([48], 8, 0), space), /rows of 48 do not divide into Q8_0 blocks of 32/],
    ['a tensor off its alignment', head(1, 0, info([1], 0, 8), space), /begins at 8, not on a multiple of 32/],
    ['a tensor past the end', head(1, 0, info([1], 0, 1024), space), /Is it cut off/],
    ['an offset near 2^64', head(1, 0, info([1], 0, 2n ** 64n - 32n), space), /beyond any file/],
    ['tensors that overlap', head(2, 0, info([16], 0, 0), Buffer.concat([text('u'), u32(1), u64(1), u32(0), u64(32)]), space), /inside the tensor before it/],
    ['a tensor that stands twice', buildGguf({}, [TENSOR, TENSOR]), /"t" stands twice/],
    ['an alignment that is no power of two', buildGguf({ 'general.alignment': { u32: 24 } }, []), /general.alignment is 24/],
    ['an alignment that is no number', buildGguf({ 'general.alignment': 'wide' }, []), /general.alignment is "wide"/],
  ])('refuses %s', async (_what, bytes, problem) => {
    await expect(open(bytes)).rejects.toMatchObject({ code: 'model_files.gguf_invalid', message: expect.stringMatching(problem) });
  });

  it('refuses every cut through a whole file', async () => {
    const whole = buildGguf({ word: 'w', ids: { i32s: [1, 2] } }, [TENSOR]);
    const needed = whole.length - 8;
    for (let length = 0; length < needed; length += 5) {
      await expect(open(whole.subarray(0, length)), `first ${length} bytes`).rejects.toMatchObject({ code: 'model_files.gguf_invalid' });
    }
  });

  it('says so when the file was cut off after it was opened, or is not there', async () => {
    const file = await open(buildGguf({}, [TENSOR]));
    truncateSync(scratch('m.gguf'), 40);
    await expect(file.values('t')).rejects.toThrow(/cut off/);
    await file.close();
    await expect(GgufFile.open(scratch('none.gguf'))).rejects.toMatchObject({ code: 'model_files.file_missing' });
  });
});
