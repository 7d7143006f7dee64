import type { IncomingHttpHeaders } from 'node:http';
import { ChecksumMismatch } from './students.errors.js';

/**
 * The SHA-256 that a request's headers promise for its body: `X-Checksum-SHA256` in hexadecimal, or `Content-Digest` (RFC 9530, `sha-256=:<base64>:`).
 * @returns hexadecimal, undefined when nothing is promised. @throws ChecksumMismatch when the promise cannot be read.
 */
export function promisedSha256(headers: IncomingHttpHeaders): string | undefined {
  const hex = headers['x-checksum-sha256'];
  if (hex !== undefined) {
    if (typeof hex === 'string' && /^[0-9a-f]{64}$/i.test(hex)) return hex.toLowerCase();
    throw new ChecksumMismatch('X-Checksum-SHA256 must be 64 hexadecimal digits');
  }
  const digest = headers['content-digest'];
  const found = digest === undefined ? undefined : /(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):/.exec(String(digest));
  if (found === null) throw new ChecksumMismatch('Content-Digest must hold sha-256=:<base64>: (RFC 9530)');
  return found && Buffer.from(found[1], 'base64').toString('hex');
}

/** @throws ChecksumMismatch */
export function checkSha256(promised: string | undefined, found: string): void {
  if (promised === undefined || promised === found) return;
  throw new ChecksumMismatch(`what arrived has the SHA-256 ${found}, and ${promised} was promised; send it again`);
}
