import { expect, it } from 'vitest';
import { readHighWater } from './high-water.js';

it('reads the high-water mark of a status', () => {
  expect(readHighWater('Name:\tnode\nVmPeak:\t  999 kB\nVmHWM:\t    1536 kB\nVmRSS:\t   12 kB\n')).toBe(1536 * 1024);
});

it('is 0 for a process that has ended', () => {
  expect(readHighWater('Name:\tnode\nState:\tZ (zombie)\n')).toBe(0);
});
