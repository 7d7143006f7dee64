import { expect, it } from 'vitest';
import { drawUniform } from '../../common/philox.js';
import { samplesOfLengths } from './continuous.js';

it('finds a random key of its own for every length, whose first draw below 1/32 comes there', () => {
  const lengths = [40, 4, 40, 100, 12];
  const samples = samplesOfLengths(lengths);
  expect(new Set(samples).size).toBe(lengths.length);
  samples.forEach((sample, i) => {
    const uniforms = Array.from({ length: 256 }, (_, position) => drawUniform({ seed: 1, stage: 0, step: 0, sample, position }));
    const length = uniforms.findIndex((uniform) => uniform < 1 / 32) + 1;
    expect(Math.abs(length - lengths[i])).toBeLessThanOrEqual(lengths[i] / 10);
  });
});
