import { expect, it } from 'vitest';
import { decodeSeconds, geometricMean, trainingSeconds } from './roofline.js';
import { SHAPES } from './shapes.js';

it('adds each product at its own best rate and attention at the best of them', () => {
  expect(trainingSeconds([{ flops: 100, rate: 10 }, { flops: 200, rate: 20 }], 40)).toBeCloseTo(100 / 10 + 200 / 20 + 40 / 20, 12);
});

it("gives the decode limits of the performance reference's table, which is bound by memory", () => {
  // SmolLM2-135M at 31.4 GB/s and 6.07 TFLOP/s: 117 tokens/s at batch 1 without a context, 1,554 at batch 32 with 512 each.
  const rates = { readRate: 31.4e9, productRate: 6.07e12 };
  const perSecond = (batch: number, context: number): number => batch / decodeSeconds(SHAPES['smollm2-135m'], { batch, context }, rates);
  expect(perSecond(1, 0)).toBeCloseTo(117, 0);
  expect(perSecond(32, 512)).toBeCloseTo(1554, 0);
  // Qwen3-0.6B, whose heads are wider than its model: 26 and 327.
  expect(1 / decodeSeconds(SHAPES['qwen3-0.6b'], { batch: 1, context: 0 }, rates)).toBeCloseTo(26.3, 1);
  expect(32 / decodeSeconds(SHAPES['qwen3-0.6b'], { batch: 32, context: 512 }, rates)).toBeCloseTo(327, 0);
});

it('is bound by products where those take longer', () => {
  // 2 x 32 x 134,479,872 FLOPs at 100 GFLOP/s.
  expect(decodeSeconds(SHAPES['smollm2-135m'], { batch: 32, context: 0 }, { readRate: 1e12, productRate: 1e11 })).toBeCloseTo(0.08606711808, 10);
});

it('means geometrically', () => {
  expect(geometricMean([1, 4])).toBeCloseTo(2, 12);
  expect(geometricMean([2, 4, 8])).toBeCloseTo(4, 12);
});
