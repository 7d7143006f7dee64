import { createHash, timingSafeEqual } from 'node:crypto';

/** Whether an `Authorization` header carries this key as `Bearer`. Takes the same time wherever the two differ. */
export function isBearer(header: string | undefined, key: string): boolean {
  return timingSafeEqual(digest(header ?? ''), digest(`Bearer ${key}`));
}

// Digests have one length, so that the comparison tells nothing about the key's.
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
