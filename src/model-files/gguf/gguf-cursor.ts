import { GgufInvalid } from '../errors.js';

/** A metadata value of a GGUF file. 64-bit whole numbers beyond 2^53 are rounded. */
export type GgufValue = number | boolean | string | readonly GgufValue[];

const MAX_DEPTH = 3;
/** Above any vocabulary known; keeps a hostile count from asking for an enormous list. */
const MAX_ITEMS = 2 ** 24;

/** Type codes of metadata values (gguf specification, `gguf_metadata_value_type`) and the fewest bytes a value takes. */
const STRING = 8;
const ARRAY = 9;
const MIN_BYTES: readonly number[] = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];

/** Reads the header of a GGUF file value by value; every length is checked against the bytes that are left before anything is made of it. */
export class GgufCursor {
  private readonly view: DataView;
  private readonly decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  private at = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly where: string,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Bytes read so far. */
  get position(): number {
    return this.at;
  }

  u32(): number {
    return this.view.getUint32(this.take(4, 'a 32-bit number'), true);
  }

  /** A u64 that counts or places something. @throws GgufInvalid above 2^53 - 1. */
  size(what: string): number {
    const value = this.view.getBigUint64(this.take(8, what), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.invalid(`${what} is ${value}, beyond any file`);
    return Number(value);
  }

  /** A count of things that take at least `minBytes` each. @throws GgufInvalid when they cannot all be there. */
  count(what: string, minBytes: number): number {
    const count = this.size(what);
    const most = Math.min(MAX_ITEMS, Math.floor((this.bytes.length - this.at) / minBytes));
    if (count > most) throw this.invalid(`${what} is ${count}; at most ${most} can be there`);
    return count;
  }

  string(what: string): string {
    const length = this.size(`the length of ${what}`);
    const start = this.take(length, what);
    try {
      return this.decoder.decode(this.bytes.subarray(start, start + length));
    } catch (cause) {
      throw new GgufInvalid(`${this.where}, byte ${start}: ${what} is not valid UTF-8`, { cause });
    }
  }

  /** @throws GgufInvalid for an unknown type or lists nested more than three deep. */
  value(type: number, what: string, depth = 0): GgufValue {
    if (type === STRING) return this.string(what);
    if (type !== ARRAY) return this.scalar(type, what);
    if (depth === MAX_DEPTH) throw this.invalid(`${what} nests lists more than ${MAX_DEPTH} deep`);
    const itemType = this.u32();
    const count = this.count(`the number of items of ${what}`, this.minBytes(itemType, what));
    return Array.from({ length: count }, () => this.value(itemType, what, depth + 1));
  }

  /** An error at the place reached. */
  invalid(problem: string): GgufInvalid {
    return new GgufInvalid(`${this.where}, byte ${this.at}: ${problem}`);
  }

  private scalar(type: number, what: string): number | boolean {
    const at = this.take(this.minBytes(type, what), what);
    const { view } = this;
    switch (type) {
      case 0: return view.getUint8(at);
      case 1: return view.getInt8(at);
      case 2: return view.getUint16(at, true);
      case 3: return view.getInt16(at, true);
      case 4: return view.getUint32(at, true);
      case 5: return view.getInt32(at, true);
      case 6: return view.getFloat32(at, true);
      case 7: return this.bool(view.getUint8(at), what);
      case 10: return Number(view.getBigUint64(at, true));
      case 11: return Number(view.getBigInt64(at, true));
      default: return view.getFloat64(at, true);
    }
  }

  private bool(byte: number, what: string): boolean {
    if (byte > 1) throw this.invalid(`${what} is a truth value of ${byte}; 0 and 1 are known`);
    return byte === 1;
  }

  private minBytes(type: number, what: string): number {
    if (type >= MIN_BYTES.length) throw this.invalid(`${what} has the unknown value type ${type}`);
    return MIN_BYTES[type];
  }

  private take(length: number, what: string): number {
    if (length > this.bytes.length - this.at) throw this.invalid(`${what} takes ${length} bytes; ${this.bytes.length - this.at} are left. Is the file cut off?`);
    const start = this.at;
    this.at += length;
    return start;
  }
}
