import type { ChartPoint } from '../../src/metrics/metrics.schema.js';
import { metricValue } from '../../src/metrics/metric-point.js';

/** A stored point, as the tests remember it. */
export interface Remembered {
  readonly key: string;
  readonly attempt: number;
  readonly step: number;
  readonly value: number;
}

/** What is asked for. */
export interface ReferenceView {
  readonly from: number;
  readonly to: number;
  readonly maxPoints: number;
  readonly shown: boolean;
}

/** What must come. */
export interface ReferenceChart {
  readonly latest: Remembered | undefined;
  readonly points: ChartPoint[];
}

/** What a chart must be, from all points of the run at once: visible points by their definition, buckets by trying every width. */
export function chartReference(points: readonly Remembered[], key: string, view: ReferenceView): ReferenceChart {
  const begun = new Map<number, number>();
  for (const { key: other, attempt, step } of points) if (other.split('/')[0] === key.split('/')[0]) begun.set(attempt, Math.min(step, begun.get(attempt) ?? Infinity));
  const superseded = ({ attempt, step }: Remembered): boolean => [...begun].some(([later, first]) => later > attempt && step >= first);
  const own = points.filter((point) => point.key === key).sort((a, b) => a.attempt - b.attempt || a.step - b.step);
  const valid = own.filter((point) => !superseded(point));
  const inView = (view.shown ? own : valid).filter(({ step }) => step >= view.from && step <= view.to);
  const lines = view.shown ? [...new Set(inView.map(({ attempt }) => attempt))].map((attempt) => inView.filter((point) => point.attempt === attempt)) : [inView];
  for (let width = 1; ; width *= 2) {
    const room = lines.reduce((sum, line) => sum + (line.length === 0 ? 0 : Math.floor(line[line.length - 1].step / width) - Math.floor(line[0].step / width) + (width === 1 ? 1 : 2)), 0);
    if (room <= view.maxPoints) return { latest: valid[valid.length - 1], points: lines.flatMap((line) => bucketed(line, width)) };
  }
}

function bucketed(line: readonly Remembered[], width: number): ChartPoint[] {
  const buckets = new Map<number, Remembered[]>();
  line.forEach((point, place) => {
    const bucket = place === 0 ? -1 : Math.floor(point.step / width);
    buckets.set(bucket, [...(buckets.get(bucket) ?? []), point]);
  });
  return [...buckets.values()].map((held) => {
    const finite = held.map(({ value }) => value).filter(Number.isFinite);
    const { step, attempt, value } = held[held.length - 1];
    const [min, max] = finite.length === 0 ? [null, null] : [Math.min(...finite), Math.max(...finite)];
    return { step, attempt, value: metricValue(value), min, max, count: held.length, nonfinite: held.length - finite.length };
  });
}
