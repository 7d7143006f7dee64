import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { isAtMostDeep, readAtMost } from './bounded-reply.js';

describe('readAtMost', () => {
  const chunks = (...sizes: number[]): Readable => Readable.from(sizes.map((size) => Buffer.alloc(size, 'x')));

  it('gives all of a body that fits exactly', async () => {
    expect(await readAtMost(chunks(3, 4), 7)).toEqual({ bytes: Buffer.from('xxxxxxx'), whole: true });
  });

  it('stops at the first chunk too much, and closes the stream', async () => {
    const body = chunks(3, 4, 1);
    expect(await readAtMost(body, 6)).toEqual({ bytes: Buffer.from('xxx'), whole: false });
    expect(body.destroyed).toBe(true);
  });
});

describe('isAtMostDeep', () => {
  const nested = (depth: number, open = '[', close = ']'): string => open.repeat(depth) + close.repeat(depth);

  it.each([
    { name: 'as deep as allowed', json: nested(64), fits: true },
    { name: 'one deeper', json: nested(65), fits: false },
    { name: 'objects', json: `${'{"a":'.repeat(65)}1${'}'.repeat(65)}`, fits: false },
    { name: 'many beside each other', json: `[${Array(100).fill('[]').join()}]`, fits: true },
    { name: 'brackets in a string', json: JSON.stringify('['.repeat(99)), fits: true },
    { name: 'brackets behind an escaped quote in a string', json: JSON.stringify(`"${'['.repeat(99)}`), fits: true },
    { name: 'brackets behind a string that ends in a backslash', json: `[${JSON.stringify('\\')},${nested(64)}]`, fits: false },
    { name: 'a string without an end', json: `"${'['.repeat(99)}`, fits: true },
  ])('$name: $fits', ({ json, fits }) => {
    expect(isAtMostDeep(Buffer.from(json))).toBe(fits);
  });
});
