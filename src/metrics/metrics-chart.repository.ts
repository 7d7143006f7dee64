import { Inject, Injectable } from '@nestjs/common';
import { Database } from '../database/database.js';
import type { ChartPart, Segment } from './chart-plan.js';
import { grouped } from './grouped.js';
import { numberArray, type SeriesRange } from './metric-point.js';
import { STEP_MOST } from './metrics.schema.js';

/** A point as it lies in the table; `at` in Unix seconds. */
export interface PointRow {
  readonly step: number;
  readonly attempt: number;
  readonly value: number;
  readonly at: number;
}

/** What of a series is in view. */
export interface SeriesView {
  readonly id: number;
  readonly key: string;
  readonly segments: readonly Segment[];
  /** Newest point that no later attempt superseded, wherever the view is. */
  readonly latest: PointRow | null;
}

/** Which series, and which of their steps. */
export interface View {
  readonly runId: string;
  readonly keys?: readonly string[];
  readonly from: number;
  readonly to: number;
  readonly superseded: 'hidden' | 'shown';
  /** Most series, by key. */
  readonly most: number;
}

/** One bucket of a chart. */
export interface BucketRow {
  readonly series: number;
  readonly attempt: number;
  readonly step: number;
  readonly value: number;
  readonly low: number | null;
  readonly high: number | null;
  readonly count: number;
  readonly nonfinite: number;
}

/**
 * Attempts of a stage, and the last step of each before a later one began anew. The row of level 31 sums up what an attempt measured under a key, so no
 * points are read for that.
 */
const ATTEMPTS = `
  begun as (
    select series.stage, whole.attempt, min(whole.first_step) as first_step
    from metric_series as series join metric_rollups as whole on whole.series = series.id and whole.level = 31
    where series.run_id = $1 group by 1, 2
  ), attempts as (
    select stage, attempt,
      coalesce(min(first_step) over (partition by stage order by attempt rows between 1 following and unbounded following) - 1, ${STEP_MOST}) as last_step
    from begun
  )`;

const VIEWS = `
  with ${ATTEMPTS}, series as (
    select id, key, stage from metric_series where run_id = $1 and ($2::text[] is null or key = any($2)) order by key limit $6
  )
  select series.id, series.key, whole.attempt, lowest.step as first, highest.step as last, newest.step as latest_step,
    newest.value as latest_value, floor(extract(epoch from newest.at))::bigint as latest_at
  from series
  join metric_rollups as whole on whole.series = series.id and whole.level = 31
  join attempts using (stage, attempt)
  cross join lateral (select least($4, case when $5 then ${STEP_MOST} else attempts.last_step end) as hi) as bound
  left join lateral (select step from metric_points where series = series.id and attempt = whole.attempt and step between $3 and bound.hi order by step limit 1) as lowest on true
  left join lateral (select step from metric_points where series = series.id and attempt = whole.attempt and step between $3 and bound.hi order by step desc limit 1) as highest on true
  left join lateral (select step, value, at from metric_points where series = series.id and attempt = whole.attempt and step <= attempts.last_step order by step desc limit 1) as newest on true
  order by series.key, whole.attempt`;

const FINITE = `abs(value) < 'Infinity'`;

/**
 * Buckets made where the rows lie, so that no more leave the database than are drawn. `offset 0` keeps each part a range of the primary key: without it the
 * planner, who cannot know how short the ranges are, may read the whole table once.
 */
const BUCKETS = `
  with part as (
    select * from unnest($1::int[], $2::int[], $3::int[], $4::int[], $5::int[], $6::int[], $7::int[], $8::int[]) as part (series, line, attempt, level, lo, hi, shift, bucket)
  ), held as (
    select part.series, part.line, part.attempt, coalesce(part.bucket, step >> part.shift) as bucket, step, value,
      case when ${FINITE} then value end as low, case when ${FINITE} then value end as high, 1 as count, case when ${FINITE} then 0 else 1 end as nonfinite
    from part cross join lateral (
      select step, value from metric_points where series = part.series and attempt = part.attempt and step between part.lo and part.hi offset 0
    ) as point
    where part.level = 0
    union all
    select part.series, part.line, part.attempt, last_step >> part.shift, last_step, last, low, high, count, nonfinite
    from part cross join lateral (
      select last_step, last, low, high, count, nonfinite from metric_rollups
      where series = part.series and level = part.level and attempt = part.attempt and bucket between part.lo >> part.level and part.hi >> part.level offset 0
    ) as rollup
    where part.level > 0
  ), bucketed as (
    select series, line, bucket, max(attempt) as attempt, max(array[step, value]) as last, min(low) as low, max(high) as high, sum(count)::int as count, sum(nonfinite)::int as nonfinite
    from held group by series, line, bucket
  )
  select series, attempt, last[1]::int as step, last[2] as value, low, high, count, nonfinite from bucketed order by series, line, bucket`;

const POINTS = `
  select wanted.place::int - 1 as place, point.step, wanted.attempt, point.value, floor(extract(epoch from point.at))::bigint as at
  from unnest($2::text[], $3::int[], $4::int[], $5::int[]) with ordinality as wanted (key, attempt, lo, hi, place)
  join metric_series as series on series.run_id = $1 and series.key = wanted.key
  cross join lateral (
    select step, value, at from metric_points where series = series.id and attempt = wanted.attempt and step between wanted.lo and wanted.hi order by step limit $6
  ) as point
  order by wanted.place, point.step`;

interface ViewRow {
  readonly id: number;
  readonly key: string;
  readonly attempt: number;
  readonly first: number | null;
  readonly last: number | null;
  readonly latest_step: number | null;
  readonly latest_value: number;
  readonly latest_at: number;
}

/** Reads points and rollups. */
@Injectable()
export class MetricsChartRepository {
  constructor(@Inject(Database) private readonly database: Database) {}

  /** Each series of the run, by key. */
  async views({ runId, keys, from, to, superseded, most }: View): Promise<SeriesView[]> {
    const rows = await this.database.query<ViewRow>(VIEWS, [runId, keys ?? null, from, to, superseded === 'shown', most]);
    const byKey = grouped(rows, ({ key }) => key);
    return [...byKey].map(([key, ofKey]) => ({ id: ofKey[0].id, key, segments: ofKey.flatMap(segmentOf), latest: ofKey.map(latestOf).findLast((point) => point !== null) ?? null }));
  }

  /** The buckets of several series, by series, line and step. */
  buckets(parts: readonly (ChartPart & { readonly series: number })[]): Promise<BucketRow[]> {
    const column = (name: keyof (typeof parts)[number]): string => numberArray(parts.map((part) => part[name]));
    return this.database.query<BucketRow>(BUCKETS, (['series', 'line', 'attempt', 'level', 'lo', 'hi', 'shift', 'bucket'] as const).map(column));
  }

  /** The points of each range by step, at most `most` of one; `place` is that of its range. */
  points(runId: string, ranges: readonly SeriesRange[], most: number): Promise<(PointRow & { readonly place: number })[]> {
    const column = (name: 'attempt' | 'from' | 'to'): string => numberArray(ranges.map((range) => range[name]));
    return this.database.query(POINTS, [runId, ranges.map(({ key }) => key), column('attempt'), column('from'), column('to'), most]);
  }

  /** Names of the run's series. */
  async keys(runId: string): Promise<string[]> {
    const rows = await this.database.query<{ key: string }>('select key from metric_series where run_id = $1 order by key', [runId]);
    return rows.map(({ key }) => key);
  }
}

function segmentOf({ attempt, first, last }: ViewRow): Segment[] {
  return first === null || last === null ? [] : [{ attempt, first, last }];
}

function latestOf({ attempt, latest_step: step, latest_value: value, latest_at: at }: ViewRow): PointRow | null {
  return step === null ? null : { step, attempt, value, at };
}
