import { describe, expect, it } from 'vitest';
import { learningRateAt } from './schedules.js';

const rates = (schedule: 'cosine' | 'linear' | 'constant', warmup: number, steps: number) =>
  Array.from({ length: steps }, (_, index) => learningRateAt(index + 1, { peak: 8, steps, schedule, warmup }));

describe('learningRateAt', () => {
  it('climbs to the peak in equal steps and stays there when constant', () => {
    expect(rates('constant', 0.5, 8)).toEqual([2, 4, 6, 8, 8, 8, 8, 8]);
  });

  it('falls linearly to one step above 0', () => {
    expect(rates('linear', 0, 3)).toEqual([6, 4, 2]);
  });

  it('follows half a cosine', () => {
    const [first, second, third] = rates('cosine', 0, 3);

    expect(first).toBeCloseTo(4 * (1 + Math.SQRT1_2), 12);
    expect(second).toBeCloseTo(4, 12);
    expect(third).toBeCloseTo(4 * (1 - Math.SQRT1_2), 12);
  });

  it('takes the peak in a run of one step', () => {
    expect(rates('cosine', 0.1, 1)).toEqual([8]);
  });
});
