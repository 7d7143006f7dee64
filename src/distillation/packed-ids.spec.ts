import { describe, expect, it } from 'vitest';
import { packIds, unpackIds } from './packed-ids.js';

describe('packIds', () => {
  it('lays 18 bits an id end to end, lowest first', () => {
    expect([...packIds(Int32Array.of(1, 1))]).toEqual([0x01, 0x00, 0x04, 0x00, 0x00]);
    expect(packIds(new Int32Array(4)).length).toBe(9);
  });

  it('gives back every id at every bit offset', () => {
    const ids = Int32Array.from({ length: 1003 }, (_, e) => (e * 261_407 + 262_143) % 262_144);

    expect(unpackIds(packIds(ids), ids.length)).toEqual(ids);
    expect(unpackIds(packIds(new Int32Array(0)), 0)).toEqual(new Int32Array(0));
  });

  it('refuses ids beyond 18 bits and bytes of another length', () => {
    expect(() => packIds(Int32Array.of(262_144))).toThrow(expect.objectContaining({ code: 'distillation.shard_invalid' }));
    expect(() => packIds(Int32Array.of(-1))).toThrow(/id -1/);
    expect(() => unpackIds(new Uint8Array(4), 2)).toThrow(/2 packed ids take 5 bytes; there are 4/);
  });
});
