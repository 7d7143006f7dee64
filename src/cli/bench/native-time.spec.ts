import { expect, it } from 'vitest';
import type { Kernels } from '../../../kernels/binding/kernels.js';
import { clockNativeCalls, type Ends } from './native-time.js';

it('counts what passes inside calls, passes arguments, results and errors on, and notes the ends of those it is asked to watch', () => {
  const spin = (milliseconds: number): number => {
    for (const end = performance.now() + milliseconds; performance.now() < end; );
    return 7;
  };
  const table = {
    zero: (milliseconds: number) => spin(milliseconds),
    free: () => {
      throw new Error('bad handle');
    },
  };
  const ends: Ends = [];
  const native = clockNativeCalls(table as unknown as Kernels, { zero: ends });
  expect(table.zero(4)).toBe(7);
  expect(() => table.free()).toThrow('bad handle');
  spin(4);
  expect(native.seconds()).toBeGreaterThanOrEqual(0.004);
  expect(ends).toHaveLength(1);
  native.reset();
  expect(native.seconds()).toBe(0);
});
