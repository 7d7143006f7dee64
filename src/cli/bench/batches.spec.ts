import { expect, it } from 'vitest';
import { checkBatch } from '../../tokens/batch.js';
import { distillBatch, logNormalLengths, paddedPlan } from './batches.js';

it('makes batches that keep the contract, with loss on all rows but the last of each sequence', () => {
  const batch = distillBatch(512, { lengths: [4, 1, 3] });
  checkBatch(batch, 512);
  expect([...batch.cuSeqlens_S1]).toEqual([0, 4, 5, 8]);
  expect([...batch.rows_R]).toEqual([0, 1, 2, 5, 6]);
  expect([...batch.labels_R]).toEqual([1, 2, 3, 6, 7].map((row) => batch.tokens_N[row]));
});

it('pads to the longest and moves no loss: same ids, same labels, same targets', () => {
  const lengths = [4, 2, 3];
  const packed = distillBatch(512, { lengths });
  const padded = distillBatch(512, paddedPlan(lengths));
  checkBatch(padded, 512);
  expect([...padded.cuSeqlens_S1]).toEqual([0, 4, 8, 12]);
  expect([...padded.rows_R]).toEqual([0, 1, 2, 4, 8, 9]);
  expect(padded.labels_R).toEqual(packed.labels_R);
  expect(padded.targets).toEqual(packed.targets);
  expect([...padded.tokens_N.subarray(8, 11)]).toEqual([...packed.tokens_N.subarray(6, 9)]);
});

it('spreads lengths as a log-normal distribution does, and shuffles them', () => {
  const lengths = logNormalLengths({ median: 100, sigma: 0.5, least: 1, most: 100_000 }, 1001);
  const sorted = [...lengths].sort((a, b) => a - b);
  expect(sorted[500]).toBe(100);
  // Quantiles 0.1587 and 0.8413 lie one deviation away: 100 e^-0.5 and 100 e^0.5.
  expect(sorted[158] / 60.65).toBeCloseTo(1, 1);
  expect(sorted[842] / 164.87).toBeCloseTo(1, 1);
  expect(lengths).not.toEqual(sorted);
  expect(logNormalLengths({ median: 100, sigma: 2, least: 50, most: 200 }, 32).every((length) => length >= 50 && length <= 200)).toBe(true);
});
