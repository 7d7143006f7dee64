import { philox4x32 } from '../../src/common/philox.js';

/** A number in the header of a GGUF file. */
interface Field {
  readonly at: number;
  readonly bytes: 4 | 8;
}

/** Counts, lengths, sizes and offsets that parsers stumble over; `2 ** 64 - 1` and its like do not fit in a double. */
const SHARP: readonly bigint[] = [0n, 1n, 2n, 3n, 255n, 2n ** 16n, 2n ** 24n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 40n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 32n, 2n ** 64n - 1n];

const KINDS = ['bits', 'bytes', 'cut', 'grown', 'field', 'field', 'fields', 'value', 'value', 'copied field', 'repeated name', 'moved block'] as const;

/** Damages one valid GGUF file in seeded ways: the same file and number give the same bytes. */
export class GgufMutations {
  private readonly fields: readonly Field[];
  /** The metadata's numbers, which say how large the model is. */
  private readonly values: readonly Field[];
  private readonly names: readonly { readonly at: number; readonly length: number }[];
  private readonly headerBytes: number;
  private draws = 0;
  private number = 0;

  /** @param parts the file's metadata keys and tensor names. */
  constructor(
    private readonly file: Buffer,
    parts: { readonly keys: readonly string[]; readonly tensors: readonly string[] },
  ) {
    const keys = parts.keys.map((key) => this.place(key));
    const tensors = parts.tensors.map((name) => this.place(name));
    this.names = [...keys, ...tensors];
    this.values = keys.map(({ at, length }) => ({ at: at + length + 4, bytes: 4 }));
    this.headerBytes = Math.max(...tensors.map(({ at, length }) => at + length)) + 32;
    const head: Field[] = [{ at: 4, bytes: 4 }, { at: 8, bytes: 8 }, { at: 16, bytes: 8 }];
    this.fields = [...head, ...keys.flatMap((key) => this.keyFields(key)), ...tensors.flatMap((tensor) => this.tensorFields(tensor))];
  }

  /** The file as mutation `number` leaves it, and the kind of damage. */
  damaged(number: number): { readonly kind: (typeof KINDS)[number]; readonly bytes: Buffer } {
    this.number = number;
    this.draws = 0;
    const bytes = Buffer.from(this.file);
    const kind = this.one(KINDS);
    return { kind, bytes: this.damage(kind, bytes) };
  }

  private damage(kind: (typeof KINDS)[number], bytes: Buffer): Buffer {
    switch (kind) {
      case 'bits':
        for (let i = 0; i <= this.below(4); i++) bytes[this.somewhere()] ^= 1 << this.below(8);
        return bytes;
      case 'bytes':
        for (let i = 0; i <= this.below(8); i++) bytes[this.somewhere()] = this.one([0, 1, 0x7f, 0x80, 0xff, this.below(256)]);
        return bytes;
      case 'cut':
        return bytes.subarray(0, this.below(2) === 0 ? this.below(this.headerBytes) : this.below(bytes.length));
      case 'grown':
        return Buffer.concat([bytes, Buffer.alloc(this.below(4096), this.below(256))]);
      case 'field':
        return this.sharpened(bytes, this.fields);
      case 'fields':
        return this.sharpened(this.sharpened(bytes, this.fields), this.fields);
      case 'value':
        return this.sharpened(bytes, this.values);
      case 'copied field': {
        const from = this.one(this.fields);
        const to = this.one(this.fields);
        bytes.copy(bytes, to.at, from.at, from.at + Math.min(from.bytes, to.bytes));
        return bytes;
      }
      case 'repeated name': {
        const to = this.one(this.names);
        const from = this.one(this.names.filter(({ length }) => length === to.length));
        bytes.copy(bytes, to.at, from.at, from.at + from.length);
        return bytes;
      }
      default: {
        const length = 1 + this.below(200);
        bytes.copy(bytes, this.somewhere(), this.below(this.headerBytes - length), this.headerBytes);
        return bytes;
      }
    }
  }

  private sharpened(bytes: Buffer, fields: readonly Field[]): Buffer {
    const { at, bytes: width } = this.one(fields);
    const before = width === 8 ? bytes.readBigUInt64LE(at) : BigInt(bytes.readUInt32LE(at));
    const value = this.one([this.one(SHARP), this.one(SHARP), before + 1n, before - 1n, before * 2n, BigInt(this.below(100))]);
    if (width === 8) bytes.writeBigUInt64LE(BigInt.asUintN(64, value), at);
    else bytes.writeUInt32LE(Number(BigInt.asUintN(32, value)), at);
    return bytes;
  }

  /** Nine times out of ten in the header, where the structure is. */
  private somewhere(): number {
    return this.below(this.below(10) === 0 ? this.file.length : this.headerBytes);
  }

  /** Where a name stands behind its length. */
  private place(name: string): { at: number; length: number } {
    const length = Buffer.byteLength(name);
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(length));
    const at = this.file.indexOf(Buffer.concat([prefix, Buffer.from(name)]));
    if (at < 0) throw new Error(`the file does not hold ${name}`);
    return { at: at + 8, length };
  }

  /** Length, type, and what begins the value: a number, a text's length, or a list's type and count. */
  private keyFields({ at, length }: { at: number; length: number }): Field[] {
    const value = at + length + 4;
    return [{ at: at - 8, bytes: 8 }, { at: at + length, bytes: 4 }, { at: value, bytes: 4 }, { at: value + 4, bytes: 8 }];
  }

  /** Length, number of sizes, each size, type and offset. */
  private tensorFields({ at, length }: { at: number; length: number }): Field[] {
    const sizes = this.file.readUInt32LE(at + length);
    const from = at + length + 4;
    const listed = Array.from({ length: sizes }, (_, i): Field => ({ at: from + 8 * i, bytes: 8 }));
    return [{ at: at - 8, bytes: 8 }, { at: at + length, bytes: 4 }, ...listed, { at: from + 8 * sizes, bytes: 4 }, { at: from + 8 * sizes + 4, bytes: 8 }];
  }

  private one<T>(values: readonly T[]): T {
    return values[this.below(values.length)];
  }

  private below(limit: number): number {
    return philox4x32([0x66757a7a, this.number], [this.draws++, 0, 0, 0])[0] % limit;
  }
}
