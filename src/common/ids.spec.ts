import { describe, expect, it } from 'vitest';
import { base62 } from './base62.js';
import { newId } from './ids.js';

describe('newId', () => {
  it('is the prefix, a hyphen and 24 digits of base 62', () => {
    expect(newId('ftjob')).toMatch(/^ftjob-[0-9A-Za-z]{24}$/);
  });

  it('never gives the same id twice, and uses every digit at every place', () => {
    const ids = Array.from({ length: 5_000 }, () => newId('x').slice(2));
    expect(new Set(ids).size).toBe(5_000);
    expect(Array.from({ length: 24 }, (_, place) => new Set(ids.map((id) => id[place])).size)).toEqual(Array(24).fill(62));
  });
});

describe('base62', () => {
  it.each([
    [[0], 3, '000'],
    [[61], 2, '0z'],
    [[62], 2, '10'],
    [[1, 0], 2, '48'],
    [[255, 255, 255, 255], 6, '4gfFC3'],
    [[255, 255, 255, 255], 3, 'FC3'],
  ])('writes %o in %i digits as %s', (bytes, length, text) => {
    expect(base62(Uint8Array.from(bytes), length)).toBe(text);
  });
});
