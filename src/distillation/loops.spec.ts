import { describe, expect, it } from 'vitest';
import { isLooping } from './loops.js';

const times = (count: number, ngram: number[]) => Array.from({ length: count }, () => ngram).flat();
const distinct = (count: number, first = 1000) => Array.from({ length: count }, (_, index) => first + index);

describe('isLooping', () => {
  it.each([1, 2, 3, 8])('sees an n-gram of %d ids four times in a row, wherever it stands', (n) => {
    const loop = times(4, distinct(n, 1));

    expect(isLooping(Int32Array.from([...distinct(5), ...loop, ...distinct(5, 2000)]))).toBe(true);
    expect(isLooping(Int32Array.from(loop))).toBe(true);
    expect(isLooping(Int32Array.from([...distinct(5), ...loop.slice(1), ...distinct(5, 2000)]))).toBe(false);
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])('sees an n-gram of %d ids that fills the last 32', (n) => {
    expect(isLooping(Int32Array.from([...distinct(9), ...times(33, distinct(n, 1)).slice(-32)]))).toBe(true);
  });

  it('lets longer n-grams, near loops and short texts pass', () => {
    expect(isLooping(Int32Array.from(times(4, distinct(9, 1))))).toBe(false);
    expect(isLooping(Int32Array.from([1, 2, 1, 2, 1, 3, 1, 2, 1, 2, 1, 3]))).toBe(false);
    expect(isLooping(Int32Array.of(7, 7, 7))).toBe(false);
    expect(isLooping(new Int32Array(0))).toBe(false);
  });
});
