import { expect, it } from 'vitest';
import { openHandles, processesOf, rssKib, slopeOf } from './process-figures.js';

it.each([
  [[5, 5, 5], 0],
  [[1, 3, 5, 7], 2],
  [[0, 1, 0, 1], 0.2], // sum of (x - 1.5)(y - 0.5) = 1, of (x - 1.5)^2 = 5
])('finds the slope of %j', (values, slope) => {
  expect(slopeOf(values)).toBeCloseTo(slope, 12);
});

it('sees this process', async () => {
  const before = await openHandles(process.pid);
  expect(before).toBeGreaterThan(2);
  expect((await rssKib(process.pid)) / (process.memoryUsage().rss / 1024)).toBeCloseTo(1, 0);
  expect(await processesOf(process.execPath)).toBeGreaterThan(0);
  expect(await processesOf('no command line says this'.repeat(9))).toBe(0);
});
