import { expect, it } from 'vitest';
import { largestThat } from './largest-that.js';

it.each([
  [0, 9, 0],
  [1, 9, 1],
  [5, 9, 5],
  [9, 9, 9],
  [20, 9, 9],
  [3, 0, 0],
])('finds the last number up to a bound of %i among %i', async (bound, most, found) => {
  expect(await largestThat(most, (value) => Promise.resolve(value <= bound))).toBe(found);
});

it('asks about the logarithm of the range', async () => {
  let asked = 0;
  await largestThat(1_000_000, (value) => Promise.resolve(++asked > 0 && value < 123_456));
  expect(asked).toBeLessThanOrEqual(20);
});
