import { describe, expect, test } from 'vitest';
import type { SampleRequest } from '../engine.js';
import { Slots, type Begun } from './slots.js';

const MOST = 1000;
const placed = (begun: Begun[]): number[][] => begun.map(({ running: { slot, index } }) => [slot, index]);

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
  const begun = slots.admit(MOST);
  expect(placed(begun)).toEqual(Array.from({ length: 32 }, (_, i) => [i, i]));
  slots.append(begun[20].running, 9, -1);
  slots.append(begun[4].running, 9, -1);
  expect(placed(slots.admit(MOST))).toEqual([[4, 32], [20, 33]]);
  expect(slots.active()).toHaveLength(32);
});

test('ends a completion at a stop id, which it includes', () => {
  const slots = new Slots(request(1));
  const [{ running }] = slots.admit(MOST);
  expect(slots.append(running, 5, -0.5)).toBeUndefined();
  expect(slots.append(running, 9, -0.25)).toEqual({ index: 0, ids_T: Int32Array.of(5, 9), logProbs_T: Float32Array.of(-0.5, -0.25), finish: 'stop' });
  expect(slots.active()).toEqual([]);
});

test('ends a completion at the length limit', () => {
  const slots = new Slots(request(1, 2));
  const [{ running }] = slots.admit(MOST);
  slots.append(running, 5, -0.5);
  expect(slots.append(running, 6, -0.25)).toMatchObject({ ids_T: Int32Array.of(5, 6), finish: 'length' });
});

describe('prompts that begin alike', () => {
  const ids = (...parts: (readonly [length: number, id: number])[]): Int32Array => Int32Array.from(parts.flatMap(([length, id]) => new Array<number>(length).fill(id)));
  const asking = (...prompts: Int32Array[]): Slots => new Slots({ ...request(0), prompts: prompts.map((ids_T, sample) => ({ ids_T, sample })) });
  const described = (begun: Begun[]): number[][] => begun.map(({ running: { slot, index }, from, positions }) => [slot, index, from, positions]);

  test('wait for the first of them, then take over what it has', () => {
    const slots = asking(ids([20, 1], [5, 2]), ids([30, 3]), ids([20, 1], [5, 4]), ids([20, 1], [5, 2]));
    expect(described(slots.admit(MOST))).toEqual([[0, 0, 0, 0], [1, 1, 0, 0]]);
    expect(described(slots.admit(MOST))).toEqual([[2, 3, 0, 24], [3, 2, 0, 20]]);
  });

  test('do not wait for less than a block of positions', () => {
    expect(described(asking(ids([15, 1], [5, 2]), ids([15, 1], [5, 4])).admit(MOST))).toEqual([[0, 0, 0, 0], [1, 1, 0, 0]]);
    expect(described(asking(ids([16, 1], [5, 2]), ids([16, 1], [5, 4])).admit(MOST))).toEqual([[0, 0, 0, 0]]);
  });

  describe('more of them than slots', () => {
    const first = Array.from({ length: 32 }, (_, k) => ids([20, 1 + k], [1, 100]));
    const asked = [...first, ids([20, 1], [1, 101]), ids([20, 2], [1, 101])];

    test('find what they want in a slot whose sequence has ended', () => {
      const slots = asking(...asked);
      const begun = slots.admit(MOST);
      expect(placed(begun)).toEqual(first.map((_, k) => [k, k]));
      slots.append(begun[1].running, 9, -1);
      slots.append(begun[0].running, 9, -1);
      expect(described(slots.admit(MOST))).toEqual([[0, 32, 0, 20], [1, 33, 1, 20]]);
    });

    test('do not find it where another one begins before them', () => {
      const slots = asking(...asked);
      const begun = slots.admit(MOST);
      slots.append(begun[1].running, 9, -1);
      slots.append(begun[2].running, 9, -1);
      expect(described(slots.admit(MOST))).toEqual([[1, 32, 0, 20], [2, 33, 0, 0]]);
    });
  });

  test('count only what is to be run towards the most tokens of a step', () => {
    const slots = asking(ids([40, 1], [5, 2]), ids([40, 1], [5, 3]), ids([40, 1], [5, 4]), ids([40, 1], [5, 5]));
    expect(slots.admit(50)).toHaveLength(1);
    expect(described(slots.admit(12))).toEqual([[1, 1, 0, 40], [2, 2, 0, 40]]);
    expect(slots.admit(2)).toHaveLength(1); // one goes on whatever its length
  });
});
