import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { base62 } from '../common/base62.js';

const PREFIX = 'lbk_';
const RANDOM_BYTES = 32;
const RANDOM_DIGITS = 43; // 62^43 > 2^256
const CHECK_DIGITS = 6; // 62^6 > 2^32
const SHAPE = new RegExp(`^${PREFIX}[0-9A-Za-z]{${RANDOM_DIGITS + CHECK_DIGITS}}$`);
/** Separates this use of the master key from every other. */
const PURPOSE = 'limbeck api keys';

/** A new key: `lbk_`, 256 random bits in base 62, and a checksum of them. */
export function newApiKey(): string {
  const random = base62(randomBytes(RANDOM_BYTES), RANDOM_DIGITS);
  return PREFIX + random + checksum(random);
}

/** Whether a text has the form of a key and its checksum holds: a mistyped key is known without asking the database. */
export function looksLikeApiKey(text: string): boolean {
  if (!SHAPE.test(text)) return false;
  const random = text.slice(PREFIX.length, -CHECK_DIGITS);
  return text.endsWith(checksum(random));
}

/** Hashes keys for the database; whoever reads the table cannot test guesses without the master key. */
export class ApiKeyHasher {
  private readonly key: Buffer;

  /** @param masterKey 64 hexadecimal digits */
  constructor(masterKey: string) {
    this.key = Buffer.from(hkdfSync('sha256', Buffer.from(masterKey, 'hex'), '', PURPOSE, 32));
  }

  /** 32 bytes. */
  hash(apiKey: string): Buffer {
    return createHmac('sha256', this.key).update(apiKey).digest();
  }
}

function checksum(random: string): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(random));
  return base62(bytes, CHECK_DIGITS);
}
