import { describe, expect, it } from 'vitest';
import { chartPlan, type ChartPart } from './chart-plan.js';

function steps(parts: readonly ChartPart[]): [number, number][] {
  return parts.map(({ lo, hi }) => [lo, hi]);
}

describe('chartPlan', () => {
  it('reads points while there is one for each of a chart', () => {
    expect(chartPlan([{ attempt: 1, first: 7, last: 506 }], 'one', 500)).toEqual({ level: 0, parts: [{ line: 0, attempt: 1, level: 0, lo: 7, hi: 506, shift: 0 }] });
  });

  it('covers every step once, with the widest rows that fit into a bucket, and finer ones at the ends', () => {
    const { level, parts } = chartPlan([{ attempt: 1, first: 5, last: 999_999 }], 'one', 100);
    expect(level).toBe(12);
    expect(parts[0]).toMatchObject({ level: 0, lo: 5, hi: 5, bucket: -1 });
    expect(parts.map((part) => part.level)).toEqual([0, 0, 6, 9, 12, 9, 6]);
    expect(steps(parts)).toEqual([[5, 5], [6, 63], [64, 511], [512, 4_095], [4_096, 999_423], [999_424, 999_935], [999_936, 999_999]]);
    for (const { level: of, lo, hi } of parts.filter((part) => part.level > 0)) expect([lo % 2 ** of, (hi + 1) % 2 ** of]).toEqual([0, 0]);
  });

  it('draws attempts as one line, or each by itself', () => {
    const segments = [{ attempt: 1, first: 0, last: 4_999 }, { attempt: 4, first: 5_000, last: 9_999 }];
    const one = chartPlan(segments, 'one', 100);
    expect(one.parts.filter(({ bucket }) => bucket === -1).map(({ lo }) => lo)).toEqual([0]);
    expect(new Set(one.parts.map(({ line }) => line))).toEqual(new Set([0]));
    const each = chartPlan(segments, 'each-attempt', 100);
    expect(each.parts.filter(({ bucket }) => bucket === -1).map(({ line, lo }) => [line, lo])).toEqual([[1, 0], [4, 5_000]]);
  });

  it('keeps to its bound with more attempts than it could draw, and takes the newest', () => {
    const segments = Array.from({ length: 40 }, (_, attempt) => ({ attempt, first: 0, last: 2 ** 31 - 1 }));
    const { parts } = chartPlan(segments, 'each-attempt', 10);
    expect([...new Set(parts.map(({ attempt }) => attempt))]).toEqual([35, 36, 37, 38, 39]);
    expect(new Set(parts.map(({ line, bucket, lo, shift }) => `${line} ${bucket ?? Math.floor(lo / 2 ** shift)}`)).size).toBeLessThanOrEqual(10);
  });

  it('reads nothing where there is nothing', () => {
    expect(chartPlan([], 'one', 500).parts).toEqual([]);
  });
});
