import { describe, expect, it } from 'vitest';
import { cutMicroBatches, drawPrompts, planSteps } from './plan.js';

const sizes = Array.from({ length: 40 }, (_, index) => 10 + ((index * 37) % 50));
const pass = sizes.reduce((sum, size) => sum + size, 0);

describe('planSteps', () => {
  it('takes every sample once an epoch and knows each step\'s weight', () => {
    const steps = planSteps({ lossTokens_I: sizes, budget: 3 * pass, perStep: 200, seed: 7 });
    const seen = steps.flatMap(({ samples }) => samples);

    expect(seen.length).toBe(120);
    expect(new Set(seen.slice(0, 40)).size).toBe(40);
    expect(new Set(seen.slice(80)).size).toBe(40);
    expect(seen.slice(0, 40)).not.toEqual(seen.slice(40, 80));
    for (const { samples, lossTokens } of steps) expect(lossTokens).toBe(samples.reduce((sum, index) => sum + sizes[index], 0));
  });

  it('cuts steps within one sample of the asked weight', () => {
    const steps = planSteps({ lossTokens_I: sizes, budget: 3 * pass, perStep: 200, seed: 7 });
    const even = (3 * pass) / steps.length;

    expect(steps.length).toBe(Math.round((3 * pass) / 200));
    for (const { lossTokens } of steps) expect(Math.abs(lossTokens - even)).toBeLessThanOrEqual(60);
  });

  it('depends on the seed alone', () => {
    const request = { lossTokens_I: sizes, budget: pass, perStep: 200 };

    expect(planSteps({ ...request, seed: 7 })).toEqual(planSteps({ ...request, seed: 7 }));
    expect(planSteps({ ...request, seed: 8 })).not.toEqual(planSteps({ ...request, seed: 7 }));
  });

  it('stops a budget that is no whole number of passes within half a sample', () => {
    const total = planSteps({ lossTokens_I: sizes, budget: 2.5 * pass, perStep: 200, seed: 7 }).reduce((sum, { lossTokens }) => sum + lossTokens, 0);

    expect(Math.abs(total - 2.5 * pass)).toBeLessThanOrEqual(30);
  });

  it('gives samples longer than a step a step of their own, and no empty steps', () => {
    const steps = planSteps({ lossTokens_I: [500, 500], budget: 1000, perStep: 100, seed: 1 });

    expect(steps.map(({ samples }) => samples.length)).toEqual([1, 1]);
  });
});

describe('cutMicroBatches', () => {
  it('fills batches up to the limit in order and leaves a longer item alone', () => {
    expect(cutMicroBatches([4, 4, 4, 20, 1], (size) => size, 9)).toEqual([[4, 4], [4], [20], [1]]);
    expect(cutMicroBatches([], () => 1, 9)).toEqual([]);
  });
});

describe('drawPrompts', () => {
  it('walks through shuffled passes, step by step, without gaps', () => {
    const drawn = [1, 2, 3, 4, 5].flatMap((step) => drawPrompts(step, { prompts: 10, perStep: 4, seed: 3 }));

    expect(drawn.length).toBe(20);
    expect([...drawn.slice(0, 10)].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect([...drawn.slice(10)].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(drawPrompts(3, { prompts: 10, perStep: 4, seed: 3 })).toEqual(drawn.slice(8, 12));
  });
});
