import { describe, expect, it } from 'vitest';
import { pointColumns } from './metric-point.js';
import { rollupsOf } from './rollup.js';

const LOSS = 'distill/loss';

describe('rollupsOf', () => {
  it('sums up at every level; of equal extremes the first counts', () => {
    const points = [[5, 2], [63, 1], [64, 2], [70, 1], [4_096, 7]].map(([step, value]) => ({ key: LOSS, step, value }));
    const first = { count: 2, nonfinite: 0, first_step: 5, first: 2, last_step: 63, last: 1, low_step: 63, low: 1, high_step: 5, high: 2 };
    const whole = { ...first, count: 5, last_step: 4_096, last: 7, high_step: 4_096, high: 7 };
    const lower = { ...first, count: 4, last_step: 70 };
    const end = { count: 1, nonfinite: 0, first_step: 4_096, first: 7, last_step: 4_096, last: 7, low_step: 4_096, low: 7, high_step: 4_096, high: 7 };
    expect(rollupsOf(pointColumns(points))).toEqual([
      { name: 1, level: 6, bucket: 0, ...first },
      { name: 1, level: 6, bucket: 1, count: 2, nonfinite: 0, first_step: 64, first: 2, last_step: 70, last: 1, low_step: 70, low: 1, high_step: 64, high: 2 },
      { name: 1, level: 6, bucket: 64, ...end },
      { name: 1, level: 9, bucket: 0, ...lower },
      { name: 1, level: 9, bucket: 8, ...end },
      { name: 1, level: 12, bucket: 0, ...lower },
      { name: 1, level: 12, bucket: 1, ...end },
      { name: 1, level: 31, bucket: 0, ...whole },
    ]);
  });

  it('keeps values that are not finite out of the extremes, and series apart', () => {
    const points = [{ key: LOSS, step: 1, value: NaN }, { key: 'align/loss', step: 1, value: -Infinity }, { key: LOSS, step: 2, value: 3 }, { key: LOSS, step: 3, value: Infinity }];
    const whole = rollupsOf(pointColumns(points)).filter(({ level }) => level === 31);
    expect(whole).toEqual([
      { name: 1, level: 31, bucket: 0, count: 1, nonfinite: 1, first_step: 1, first: -Infinity, last_step: 1, last: -Infinity, low_step: null, low: null, high_step: null, high: null },
      { name: 2, level: 31, bucket: 0, count: 3, nonfinite: 2, first_step: 1, first: NaN, last_step: 3, last: Infinity, low_step: 2, low: 3, high_step: 2, high: 3 },
    ]);
  });
});

describe('pointColumns', () => {
  it('orders by name and step, and keeps the first value of a step', () => {
    const points = [[LOSS, 9, 1], ['align/loss', 4, 2], [LOSS, 3, 3], [LOSS, 9, 4], ['align/loss', 5, 5]].map(([key, step, value]) => ({ key: String(key), step: Number(step), value: Number(value), at: 10 * Number(value) }));
    expect(pointColumns(points)).toEqual({ names: ['align/loss', LOSS], name_P: [1, 1, 2, 2], step_P: [4, 5, 3, 9], value_P: [2, 5, 3, 1], at_P: [20, 50, 30, 10] });
  });
});
