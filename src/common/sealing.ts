import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { AppError } from './errors.js';

/** A sealed secret cannot be opened: it was changed, belongs to another record, or was sealed under another master key. */
export class SecretUnreadable extends AppError {
  readonly code = 'secrets.unreadable';
  readonly kind = 'bug';
}

const CIPHER = 'aes-256-gcm';
/** Stands before every record, so that a record says which key opens it once keys are rotated. */
const KEY_ID = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEAD_BYTES = 1 + NONCE_BYTES + TAG_BYTES;

/** Seals the secrets that the database keeps. One record: key id (1 byte), nonce (12), tag (16), ciphertext. */
export class SecretSealer {
  private readonly key: Buffer;

  /** @param masterKey 64 hexadecimal digits; the sealing key is derived from it, so that it serves other purposes too. */
  constructor(masterKey: string) {
    this.key = Buffer.from(hkdfSync('sha256', Buffer.from(masterKey, 'hex'), Buffer.alloc(0), 'limbeck sealed secrets', 32));
  }

  /** @param recordId of the row that keeps the result; the secret opens beside this id only. */
  seal(secret: string, recordId: string): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.key, nonce, { authTagLength: TAG_BYTES }).setAAD(bound(recordId));
    const sealed = Buffer.concat([cipher.update(secret, 'utf8'), cipher.final()]);
    return Buffer.concat([Buffer.of(KEY_ID), nonce, cipher.getAuthTag(), sealed]);
  }

  /** @throws SecretUnreadable */
  open(record: Buffer, recordId: string): string {
    if (record.length < HEAD_BYTES || record[0] !== KEY_ID) throw this.unreadable(recordId);
    const nonce = record.subarray(1, 1 + NONCE_BYTES);
    const decipher = createDecipheriv(CIPHER, this.key, nonce, { authTagLength: TAG_BYTES }).setAAD(bound(recordId));
    try {
      decipher.setAuthTag(record.subarray(1 + NONCE_BYTES, HEAD_BYTES));
      return Buffer.concat([decipher.update(record.subarray(HEAD_BYTES)), decipher.final()]).toString('utf8');
    } catch (error) {
      throw this.unreadable(recordId, error);
    }
  }

  private unreadable(recordId: string, cause?: unknown): SecretUnreadable {
    return new SecretUnreadable(`the secret of ${recordId} cannot be opened: it was changed, moved from another record, or sealed under another LIMBECK_MASTER_KEY`, { cause });
  }
}

function bound(recordId: string): Buffer {
  return Buffer.from(`${KEY_ID}:${recordId}`, 'utf8');
}
