import { MetricPointInvalid } from './metrics.errors.js';
import { METRIC_KEY, STEP_MOST, type MetricValue } from './metrics.schema.js';

/** One measurement. */
export interface MetricPoint {
  /** `stage/name`; the part before the first slash is the stage whose attempts supersede each other. */
  readonly key: string;
  /** In [0, 2^31). */
  readonly step: number;
  /** Any double; NaN and infinities are kept as they are. */
  readonly value: number;
  /** Unix milliseconds; the database's clock when absent. */
  readonly at?: number;
}

/** Points of one run that are stored together or not at all. */
export interface MetricBatch {
  readonly runId: string;
  /** A UUID; a batch that comes again under its id changes nothing. */
  readonly batchId: string;
  /** The epoch of the stage that measured. */
  readonly attempt: number;
  /** At most `BATCH_POINTS_MOST`. Of two at one step of a key the first counts. */
  readonly points: readonly MetricPoint[];
}

/** Steps `from` to `to`, both included, of what one attempt measured under a key. */
export interface SeriesRange {
  readonly key: string;
  readonly attempt: number;
  readonly from: number;
  readonly to: number;
}

/** The newest value of a series that no later attempt has superseded. */
export interface LatestValue {
  readonly step: number;
  readonly attempt: number;
  readonly value: MetricValue;
  /** Unix seconds. */
  readonly at: number;
}

/** The value as JSON carries it; `Number` turns it back. */
export function metricValue(value: number): MetricValue {
  if (Number.isFinite(value)) return value;
  if (Number.isNaN(value)) return 'NaN';
  return value > 0 ? 'Infinity' : '-Infinity';
}

/** A batch as arrays, one entry a point, by name and step, none twice; `names` are the keys in order of code units and `name_P` 1-based places in them. */
export interface PointColumns {
  readonly names: readonly string[];
  readonly name_P: readonly number[];
  readonly step_P: readonly number[];
  readonly value_P: readonly number[];
  readonly at_P: readonly (number | undefined)[];
}

/** Of two points at one step of a key the first is kept. @throws MetricPointInvalid naming the first point that cannot be stored. */
export function pointColumns(points: readonly MetricPoint[]): PointColumns {
  const series = seriesOf(points);
  const names = [...series.keys()].sort();
  const columns = { names, name_P: [] as number[], step_P: [] as number[], value_P: [] as number[], at_P: [] as (number | undefined)[] };
  names.forEach((key, place) => {
    let before = -1;
    // The sort is stable, so the first of a step comes first.
    for (const { step, value, at } of series.get(key)!.sort((a, b) => a.step - b.step)) {
      if (step === before) continue;
      before = step;
      columns.name_P.push(place + 1);
      columns.step_P.push(step);
      columns.value_P.push(value);
      columns.at_P.push(at);
    }
  });
  return columns;
}

function seriesOf(points: readonly MetricPoint[]): Map<string, MetricPoint[]> {
  const series = new Map<string, MetricPoint[]>();
  for (const point of points) {
    const { key, step } = point;
    if (!Number.isInteger(step) || step < 0 || step > STEP_MOST) throw new MetricPointInvalid(`step ${step} of ${JSON.stringify(key)} is none: steps are whole numbers from 0 to ${STEP_MOST}`);
    const held = series.get(key);
    if (held) held.push(point);
    else series.set(checkedKey(key), [point]);
  }
  return series;
}

function checkedKey(key: string): string {
  if (METRIC_KEY.test(key)) return key;
  throw new MetricPointInvalid(`${JSON.stringify(key.slice(0, 200))} is no name of a metric: use stage/name in lower case, such as align/reverse_kl, of at most 200 characters`);
}

/** An array literal of Postgres; its float8 reads NaN and Infinity as JavaScript writes them. */
export function numberArray(values: readonly (number | null | undefined)[]): string {
  return `{${values.map((value) => value ?? 'NULL').join(',')}}`;
}
