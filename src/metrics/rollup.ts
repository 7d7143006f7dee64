import type { PointColumns } from './metric-point.js';

/** What measured points of one series that lie in the same 2^level steps have in common. */
export interface Rollup {
  /** 1-based place of the series' key in the batch's names. */
  readonly name: number;
  readonly level: number;
  readonly bucket: number;
  readonly count: number;
  readonly nonfinite: number;
  readonly first_step: number;
  readonly first: number;
  readonly last_step: number;
  readonly last: number;
  /** First step of the least value; none where no value is finite, as `low` and the two of the greatest. */
  readonly low_step: number | null;
  readonly low: number | null;
  readonly high_step: number | null;
  readonly high: number | null;
}

/** The level whose bucket is the whole attempt. */
export const WHOLE = 31;

const LEVELS = [6, 9, 12, WHOLE] as const;

type Growing = { -readonly [Field in keyof Rollup]: Rollup[Field] };

/** Sums a batch up at each level. @param points by name and step, none twice. @returns by level, name and bucket. */
export function rollupsOf(points: PointColumns): Rollup[] {
  let finer: readonly Rollup[] = finest(points);
  return LEVELS.flatMap((level) => (finer = level === LEVELS[0] ? finer : coarser(finer, level)));
}

function finest({ name_P, step_P, value_P }: PointColumns): Rollup[] {
  const rows: Growing[] = [];
  step_P.forEach((step, place) => {
    const [name, value] = [name_P[place], value_P[place]];
    const row = rowFor(rows, { name, level: LEVELS[0], first_step: step, first: value });
    row.count++;
    row.last_step = step;
    row.last = value;
    if (Number.isFinite(value)) widen(row, { low: value, low_step: step, high: value, high_step: step });
    else row.nonfinite++;
  });
  return rows;
}

function coarser(finer: readonly Rollup[], level: number): Rollup[] {
  const rows: Growing[] = [];
  for (const part of finer) {
    const row = rowFor(rows, { name: part.name, level, first_step: part.first_step, first: part.first });
    row.count += part.count;
    row.nonfinite += part.nonfinite;
    row.last_step = part.last_step;
    row.last = part.last;
    widen(row, part);
  }
  return rows;
}

/** The last row, or a new one if that is of another series or bucket. */
function rowFor(rows: Growing[], { name, level, first_step, first }: Pick<Rollup, 'name' | 'level' | 'first_step' | 'first'>): Growing {
  const bucket = first_step >> level;
  const row = rows[rows.length - 1] as Growing | undefined;
  if (row !== undefined && row.name === name && row.bucket === bucket) return row;
  // Every row has every field from the start: rows of one shape are what makes this quick.
  const fresh: Growing = { name, level, bucket, count: 0, nonfinite: 0, first_step, first, last_step: first_step, last: first, low_step: null, low: null, high_step: null, high: null };
  rows.push(fresh);
  return fresh;
}

/** Steps come in order, so of equal extremes the first stays. */
function widen(row: Growing, { low, low_step, high, high_step }: Pick<Rollup, 'low' | 'low_step' | 'high' | 'high_step'>): void {
  if (low !== null && (row.low === null || low < row.low)) [row.low, row.low_step] = [low, low_step];
  if (high !== null && (row.high === null || high > row.high)) [row.high, row.high_step] = [high, high_step];
}
