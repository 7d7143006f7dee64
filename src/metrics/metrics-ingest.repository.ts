import { Injectable } from '@nestjs/common';
import { rowsOf, type Tx } from '../database/database.js';
import { numberArray, pointColumns, type MetricBatch } from './metric-point.js';

/** What a batch added to one series. */
export interface IngestedSeries {
  readonly key: string;
  readonly from: number;
  readonly to: number;
  readonly points: number;
  /** `[step, value]` of the first value that is not finite, if the attempt had none before. */
  readonly alarm: readonly [number, number] | null;
}

const FINITE = `abs(value) < 'Infinity'`; // NaN is greater than everything in Postgres

/**
 * One statement a batch, so that points and rollups cannot differ and the way to the database is made once. Rollups add up what was really inserted: a
 * replay inserts nothing, so it adds nothing; nor does a batch that names a series which is not there. Pairs `[order, value]` compare by their first
 * number: the minimum of `[step, value]` is the first value. Every insert is in the order of its key, so that writers who meet wait
 * for each other and never in a circle.
 */
const INGEST = `
  with series as (
    select id, key from metric_series where run_id = $1 and key = any($4)
  ), batch as (
    insert into metric_batches (run_id, batch_id) select $1, $2 where (select count(*) from series) = cardinality($4::text[]) on conflict do nothing returning run_id
  ), inserted as (
    insert into metric_points (series, attempt, step, value, at)
    select series.id, $3, point.step, point.value, coalesce(to_timestamp(point.at / 1000), clock_timestamp())
    from unnest($5::int[], $6::int[], $7::float8[], $8::float8[]) with ordinality as point (name, step, value, at, place)
    join series on series.key = ($4::text[])[point.name]
    where exists (select from batch)
    order by series.id, point.step, point.place
    on conflict do nothing
    returning series, step, value
  ), fine as (
    select series, step >> 6 as bucket, count(*) as count, count(*) filter (where not ${FINITE}) as nonfinite,
      min(array[step, value]) as first, max(array[step, value]) as last,
      min(array[value, step]) filter (where ${FINITE}) as low, max(array[value, -step]) filter (where ${FINITE}) as high,
      min(array[step, value]) filter (where not ${FINITE}) as alarm
    from inserted group by 1, 2
  ), rolled as (
    insert into metric_rollups as held (series, level, attempt, bucket, count, nonfinite, first_step, first, last_step, last, low_step, low, high_step, high)
    select series, level, $3, bucket, count, nonfinite, first[1], first[2], last[1], last[2], low[2], low[1], -high[2], high[1]
    from (
      select series, level, bucket >> (level - 6) as bucket, sum(count) as count, sum(nonfinite) as nonfinite,
        min(first) as first, max(last) as last, min(low) as low, max(high) as high
      from fine, unnest(array[6, 9, 12, 31]) as level group by 1, 2, 3
    ) as fresh
    order by series, level, bucket
    on conflict (series, level, attempt, bucket) do update set
      count = held.count + excluded.count,
      nonfinite = held.nonfinite + excluded.nonfinite,
      first = case when excluded.first_step < held.first_step then excluded.first else held.first end,
      first_step = least(held.first_step, excluded.first_step),
      last = case when excluded.last_step > held.last_step then excluded.last else held.last end,
      last_step = greatest(held.last_step, excluded.last_step),
      low_step = case when held.low is null or (excluded.low, excluded.low_step) < (held.low, held.low_step) then excluded.low_step else held.low_step end,
      low = least(held.low, excluded.low),
      high_step = case when held.high is null or (excluded.high, -excluded.high_step) > (held.high, -held.high_step) then excluded.high_step else held.high_step end,
      high = greatest(held.high, excluded.high)
    returning series, level, nonfinite
  )
  select series.key, min(fine.first[1])::int as "from", max(fine.last[1])::int as "to", sum(fine.count)::int as points,
    case when rolled.nonfinite = sum(fine.nonfinite) then min(fine.alarm) end as alarm
  from fine join series on series.id = fine.series join rolled on rolled.series = fine.series and rolled.level = 31
  group by series.key, rolled.nonfinite
  order by series.key`;

/** Apart, and never an update of a key that is there: that would lock out whoever has points of the series to store, and could wait for them in a circle. */
const NEW_SERIES = `
  insert into metric_series (run_id, key)
  select $1, name from unnest($2::text[]) as name where not exists (select from metric_series where run_id = $1 and key = name)
  order by name on conflict do nothing`;

/** Writes points. */
@Injectable()
export class MetricsIngestRepository {
  /** @returns the series that gained points, by key; none when the batch was here before. */
  async ingest(tx: Tx, { runId, batchId, attempt, points }: MetricBatch): Promise<IngestedSeries[]> {
    const { names, name_P, step_P, value_P, at_P } = pointColumns(points);
    const parameters = [runId, batchId, attempt, names, numberArray(name_P), numberArray(step_P), numberArray(value_P), numberArray(at_P)];
    const added = await rowsOf<IngestedSeries>(tx, INGEST, parameters);
    if (added.length > 0 || names.length === 0) return added;
    await tx.query(NEW_SERIES, [runId, names]);
    return rowsOf<IngestedSeries>(tx, INGEST, parameters);
  }
}
