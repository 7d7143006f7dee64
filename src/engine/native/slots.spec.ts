import { expect, test } from 'vitest';
import type { SampleRequest } from '../engine.js';
import { Slots } from './slots.js';

const request = (prompts: number, maxTokens = 3): SampleRequest => ({
  prompts: Array.from({ length: prompts }, (_, sample) => ({ ids_T: Int32Array.of(1), sample })),
  sampling: { temperature: 1, topP: 1, topK: 0, maxTokens, stopIds: [9] },
  key: { seed: 1, stage: 1, step: 1 },
});

test('has a slot a prompt up to 32', () => {
  expect([1, 31, 32, 33, 500].map((prompts) => Slots.count(request(prompts)))).toEqual([1, 31, 32, 32, 32]);
});

test('fills the lowest free slot with the next prompt when a sequence ends', () => {
  const slots = new Slots(request(35));
  const begun = slots.admit();
  expect(begun.map(({ slot, index }) => [slot, index])).toEqual(Array.from({ length: 32 }, (_, i) => [i, i]));
  slots.append(begun[20], 9, -1);
  slots.append(begun[4], 9, -1);
  expect(slots.admit().map(({ slot, index }) => [slot, index])).toEqual([[4, 32], [20, 33]]);
  expect(slots.active()).toHaveLength(32);
});

test('ends a completion at a stop id, which it includes', () => {
  const slots = new Slots(request(1));
  const [running] = slots.admit();
  expect(slots.append(running, 5, -0.5)).toBeUndefined();
  expect(slots.append(running, 9, -0.25)).toEqual({ index: 0, ids_T: Int32Array.of(5, 9), logProbs_T: Float32Array.of(-0.5, -0.25), finish: 'stop' });
  expect(slots.active()).toEqual([]);
});

test('ends a completion at the length limit', () => {
  const slots = new Slots(request(1, 2));
  const [running] = slots.admit();
  slots.append(running, 5, -0.5);
  expect(slots.append(running, 6, -0.25)).toMatchObject({ ids_T: Int32Array.of(5, 6), finish: 'length' });
});
