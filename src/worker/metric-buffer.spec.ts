import { expect, it } from 'vitest';
import type { StepMetrics } from '../distillation/events.js';
import { MetricBuffer } from './metric-buffer.js';

const step = (number: number): StepMetrics => ({
  stage: 'align', step: number, steps: 9, loss: 1 / number, grad_norm: 2, learning_rate: 3, tokens: 4, loss_tokens: 5, seconds: 6, tokens_per_second: 7, reverse_kl: undefined,
});

it('makes a point of each number measured, under stage and name', () => {
  const buffer = new MetricBuffer(100, () => 42);
  buffer.add(step(2));

  const [{ points }] = buffer.take();

  expect(points.map(({ key }) => key)).toEqual(['align/loss', 'align/grad_norm', 'align/learning_rate', 'align/tokens', 'align/loss_tokens', 'align/seconds', 'align/tokens_per_second']);
  expect(points[0]).toEqual({ key: 'align/loss', step: 2, value: 0.5, at: 42 });
});

it('cuts what it holds into batches with ids of their own, and is empty then', () => {
  const buffer = new MetricBuffer(5);

  expect(buffer.add(step(1))).toBe(true);
  const batches = buffer.take();

  expect(batches.map(({ points }) => points.length)).toEqual([5, 2]);
  expect(new Set(batches.map(({ batchId }) => batchId)).size).toBe(2);
  expect(buffer.take()).toEqual([]);
});
