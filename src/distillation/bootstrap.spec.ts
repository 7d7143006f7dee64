import { describe, expect, it } from 'vitest';
import { meanInterval, meanOf, pairedDifference } from './bootstrap.js';
import { uniform53 } from './random.js';

const noise = (index: number) => uniform53({ seed: 1, stage: 0, step: 0, sample: index, position: 0 }) - 0.5;
const prompts = Array.from({ length: 48 }, (_, index) => index);

describe('meanInterval', () => {
  it('weighs tokens alike, not prompts', () => {
    expect(meanOf({ sums_P: [1, 9], counts_P: [1, 3] })).toBe(2.5);
  });

  it('has the width the central limit gives for equal counts', () => {
    const sums_P = prompts.map(noise);
    const { value, low, high } = meanInterval({ sums_P, counts_P: sums_P.map(() => 1) }, 7);
    const deviation = Math.sqrt(sums_P.reduce((sum, x) => sum + (x - value) ** 2, 0) / 48);
    const expected = (2 * 1.96 * deviation) / Math.sqrt(48);

    expect(low).toBeLessThan(value);
    expect(high).toBeGreaterThan(value);
    expect(high - low).toBeGreaterThan(expected * 0.93);
    expect(high - low).toBeLessThan(expected * 1.07);
  });

  it('is the same for the same seed and collapses where nothing varies', () => {
    const mean = { sums_P: prompts.map(noise), counts_P: prompts.map(() => 1) };

    expect(meanInterval(mean, 7)).toEqual(meanInterval(mean, 7));
    expect(meanInterval(mean, 8)).not.toEqual(meanInterval(mean, 7));
    expect(meanInterval({ sums_P: [4, 2], counts_P: [2, 1] }, 7)).toEqual({ value: 2, low: 2, high: 2 });
  });

  it('leaves prompts that have nothing to say out of the mean', () => {
    expect(meanInterval({ sums_P: [3, 0, 0], counts_P: [1, 0, 0] }, 7)).toEqual({ value: 3, low: 3, high: 3 });
  });
});

describe('pairedDifference', () => {
  it('sees a small common shift that intervals of either side hide', () => {
    const before = { sums_P: prompts.map((index) => 10 * noise(index)), counts_P: prompts.map(() => 1) };
    const after = { ...before, sums_P: before.sums_P.map((sum, index) => sum - 0.1 + 0.01 * noise(100 + index)) };

    const { value, low, high } = pairedDifference({ before, after }, 7);

    expect(value).toBeCloseTo(-0.1, 2);
    expect(high).toBeLessThan(0);
    expect(low).toBeGreaterThan(-0.11);
    expect(meanInterval(before, 7).high - meanInterval(before, 7).low).toBeGreaterThan(1);
  });
});
