import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { checkSha256, promisedSha256 } from './checksum.js';

const HEX = createHash('sha256').update('a').digest('hex');
const BASE64 = createHash('sha256').update('a').digest('base64');

describe('promisedSha256', () => {
  it.each([
    [{}, undefined],
    [{ 'x-checksum-sha256': HEX.toUpperCase() }, HEX],
    [{ 'content-digest': `sha-256=:${BASE64}:` }, HEX],
    [{ 'content-digest': `sha-512=:AAAA:, sha-256=:${BASE64}:` }, HEX],
  ])('reads %o', (headers, promised) => {
    expect(promisedSha256(headers)).toBe(promised);
  });

  it.each([{ 'x-checksum-sha256': 'abc' }, { 'x-checksum-sha256': '' }, { 'content-digest': 'sha-512=:AAAA:' }, { 'content-digest': `sha-256=${BASE64}` }])('refuses %o', (headers) => {
    expect(() => promisedSha256(headers)).toThrow(expect.objectContaining({ code: 'models.checksum_mismatch' }));
  });
});

describe('checkSha256', () => {
  it('refuses another digest than the one promised, and only then', () => {
    expect(() => checkSha256(undefined, HEX)).not.toThrow();
    expect(() => checkSha256(HEX, HEX)).not.toThrow();
    expect(() => checkSha256('0'.repeat(64), HEX)).toThrow(/send it again/);
  });
});
