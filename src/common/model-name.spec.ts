import { describe, expect, it } from 'vitest';
import { asModelName, isModelName } from './model-name.js';

describe('isModelName', () => {
  it.each(['a', '7', 'smollm2-135m', 'a.b_c-d', 'a.', `a${'b'.repeat(62)}`])('takes %j', (name) => expect(isModelName(name)).toBe(true));

  it.each(['', '.', '..', '-a', '_a', 'A', 'a..b', 'a...', 'a/b', 'a\\b', 'a\n', 'a\0', 'é', 'a b', `a${'b'.repeat(63)}`, '%2e'])('refuses %j', (name) => expect(isModelName(name)).toBe(false));
});

describe('asModelName', () => {
  it.each([
    ['smol-My Student', 'smol-my-student'],
    ['../..//Etc', 'etc'],
    ['a...b', 'a.b'],
    ['ÄÖ', 'model'],
    ['', 'model'],
    ['x'.repeat(100), 'x'.repeat(63)],
  ])('makes %j into %j', (text, name) => {
    expect(asModelName(text)).toBe(name);
    expect(isModelName(name)).toBe(true);
  });
});
