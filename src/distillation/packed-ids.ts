import { ShardInvalid } from './distillation.errors.js';

/** Bits of a stored id: enough for 262144 ids, a third less than 32 bits (peers reference 3.6). */
export const ID_BITS = 18;

/** Packs ids of [0, 2^18) end to end, lowest bit first, zero bits behind the last. @throws ShardInvalid naming an id beyond. */
export function packIds(ids_E: Int32Array): Uint8Array {
  const packed = new Uint8Array(packedLength(ids_E.length));
  for (let e = 0; e < ids_E.length; e++) {
    const id = ids_E[e];
    if (id < 0 || id >= 2 ** ID_BITS) throw new ShardInvalid(`id ${id} does not fit a target shard; ids lie in [0, ${2 ** ID_BITS})`);
    const bit = e * ID_BITS;
    const word = id << (bit & 7);
    const at = Math.floor(bit / 8);
    packed[at] |= word & 0xff;
    packed[at + 1] |= (word >>> 8) & 0xff;
    packed[at + 2] |= (word >>> 16) & 0xff;
  }
  return packed;
}

/** Undoes `packIds`. @param count how many ids were packed. @throws ShardInvalid when the bytes do not hold just so many. */
export function unpackIds(packed: Uint8Array, count: number): Int32Array {
  if (packed.length !== packedLength(count)) throw new ShardInvalid(`${count} packed ids take ${packedLength(count)} bytes; there are ${packed.length}`);
  const ids_E = new Int32Array(count);
  for (let e = 0; e < count; e++) {
    const bit = e * ID_BITS;
    const at = Math.floor(bit / 8);
    const word = packed[at] | (packed[at + 1] << 8) | (packed[at + 2] << 16);
    ids_E[e] = (word >>> (bit & 7)) & (2 ** ID_BITS - 1);
  }
  return ids_E;
}

// 18 bits that begin at bit 6 of a byte end exactly at the third byte's end, so an id never spans four.
function packedLength(count: number): number {
  return Math.ceil((count * ID_BITS) / 8);
}
