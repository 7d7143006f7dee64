import { expect, it } from 'vitest';
import { rotationFrequencies } from './rotary.js';

it('gives the powers of the base without a scaling', () => {
  expect([...rotationFrequencies({ headDim: 8, ropeTheta: 10000, ropeScaling: null })]).toEqual([1, 0.1, 0.01, 0.001].map((value) => expect.closeTo(value, 15)));
});

it('keeps fast pairs, stretches slow ones and goes between the two as Llama 3 does', () => {
  const ropeScaling = { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 200 * Math.PI };
  // A pair of frequency f makes 100 f turns within the original length: 100, 2.5 and 0.0625.
  const [fast, middle, slow] = rotationFrequencies({ headDim: 6, ropeTheta: 40 ** 3, ropeScaling });
  expect(fast).toBe(1);
  expect(middle).toBeCloseTo((1 / 40) * (0.5 + 0.5 / 8), 15);
  expect(slow).toBeCloseTo(1 / 1600 / 8, 15);
});
