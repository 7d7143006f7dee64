import { Injectable } from '@nestjs/common';
import { rowsOf, type Tx } from '../database/database.js';
import { prepared } from '../database/prepared.js';
import { isViolation } from '../database/violations.js';
import { numberArray, pointColumns, type MetricBatch, type PointColumns } from './metric-point.js';
import { rollupsOf, WHOLE, type Rollup } from './rollup.js';

/** What a batch added to one series. */
export interface IngestedSeries {
  readonly key: string;
  readonly from: number;
  readonly to: number;
  readonly points: number;
  /** `[step, value]` of the first value that is not finite, if the attempt had none before. */
  readonly alarm: readonly [number, number] | null;
}

/*
 * Points and rollups are written in the order of names, which is the same for all writers of a run, and points before rollups: writers who meet wait for
 * each other and never in a circle.
 */
const SERIES = `series as (
    select array_agg(series.id order by name.place) as ids
    from unnest($3::text[]) with ordinality as name (key, place) join metric_series as series on series.run_id = $1 and series.key = name.key
  )`;

/** A batch that was here before is none, nor is one that names a series which is not there. */
const POINTS = `${SERIES}, batch as (
    insert into metric_batches (run_id, batch_id) select $1, $4 from series where cardinality(ids) = cardinality($3::text[]) on conflict do nothing returning run_id
  ), new_points as (
    select ids[name] as series, $2::int as attempt, step, value, coalesce(to_timestamp(at / 1000), clock_timestamp()) as at
    from series, batch, unnest($5::int[], $6::int[], $7::float8[], $8::float8[]) as point (name, step, value, at)
    order by name, step
  )`;

const COLUMNS = ['name', 'level', 'bucket', 'count', 'nonfinite', 'first_step', 'first', 'last_step', 'last', 'low_step', 'low', 'high_step', 'high'] as const satisfies (keyof Rollup)[];
const TYPES: Partial<Record<(typeof COLUMNS)[number], string>> = { level: 'smallint', first: 'float8', last: 'float8', low: 'float8', high: 'float8' };
const SUMS = COLUMNS.slice(1).join(', ');

/** Adds what the points of a batch come to. @param from number of the first of the arrays. @param condition on which. */
function rolled(from: number, condition: string): string {
  return `rolled as (
    insert into metric_rollups as held (series, attempt, ${SUMS})
    select ids[name], $2, ${SUMS} from series, unnest(${COLUMNS.map((column, place) => `$${from + place}::${TYPES[column] ?? 'int'}[]`).join(', ')}) as fresh (${COLUMNS.join(', ')})
    where ${condition}
    order by name, level, bucket
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
  select array_position(ids, rolled.series) as name, nonfinite from series, rolled where level = ${WHOLE}`;
}

/** One statement a batch: the way to the database is made once, and points that are all new need no look whether they are there. Fails where one is. */
const ADD_NEW = prepared(
  'metrics_add_new',
  `with ${POINTS}, inserted as (
    insert into metric_points (series, attempt, step, value, at) select * from new_points returning series
  ), ${rolled(9, '(select count(*) from inserted) > 0')}`,
);

/** Adds those of the points that are not there. */
const ADD_MISSING = `
  with ${POINTS}, inserted as (
    insert into metric_points (series, attempt, step, value, at) select * from new_points on conflict do nothing returning series, step
  )
  select array_position(ids, inserted.series) as name, step from series, inserted`;

const ADD_ROLLUPS = `with ${SERIES}, ${rolled(4, 'true')}`;

/** Apart, and never an update of a key that is there: that would lock out whoever has points of the series to store, and could wait for them in a circle. */
const NEW_SERIES = `
  insert into metric_series (run_id, key)
  select $1, name from unnest($2::text[]) as name where not exists (select from metric_series where run_id = $1 and key = name)
  order by name on conflict do nothing`;

/** What of a series is in the table, after the batch. */
interface WholeRow {
  readonly name: number;
  readonly nonfinite: number;
}

/**
 * Writes points, and with them the rollups of what was really stored: a replay stores nothing, so it adds nothing. Nearly always all points of a batch are
 * new, so that is tried first.
 */
@Injectable()
export class MetricsIngestRepository {
  /** @returns the series that gained points, by key; none when the batch was here before. */
  async ingest(tx: Tx, batch: MetricBatch): Promise<IngestedSeries[]> {
    const points = pointColumns(batch.points);
    if (points.names.length === 0) return [];
    const added = await this.add(tx, batch, points);
    if (added.length > 0) return added;
    await tx.query(NEW_SERIES, [batch.runId, points.names]);
    return this.add(tx, batch, points);
  }

  private async add(tx: Tx, batch: MetricBatch, points: PointColumns): Promise<IngestedSeries[]> {
    await tx.query('savepoint metric_batch');
    const added = await this.addNew(tx, batch, points).catch(async (error: unknown) => {
      if (!isViolation(error, 'unique', 'metric_points_pkey')) throw error;
      await tx.query('rollback to savepoint metric_batch');
      return this.addMissing(tx, batch, points);
    });
    await tx.query('release savepoint metric_batch');
    return added;
  }

  private async addNew(tx: Tx, batch: MetricBatch, points: PointColumns): Promise<IngestedSeries[]> {
    const rollups = rollupsOf(points);
    return addedSeries(points, rollups, await rowsOf<WholeRow>(tx, ADD_NEW, [...pointParameters(batch, points), ...rollupParameters(rollups)]));
  }

  private async addMissing(tx: Tx, batch: MetricBatch, points: PointColumns): Promise<IngestedSeries[]> {
    const inserted = await rowsOf<{ name: number; step: number }>(tx, ADD_MISSING, pointParameters(batch, points));
    const added = onlyThose(points, new Set(inserted.map(({ name, step }) => `${name} ${step}`)));
    const rollups = rollupsOf(added);
    return addedSeries(added, rollups, await rowsOf<WholeRow>(tx, ADD_ROLLUPS, [batch.runId, batch.attempt, points.names, ...rollupParameters(rollups)]));
  }
}

function pointParameters({ runId, attempt, batchId }: MetricBatch, { names, name_P, step_P, value_P, at_P }: PointColumns): unknown[] {
  return [runId, attempt, names, batchId, ...[name_P, step_P, value_P, at_P].map(numberArray)];
}

function rollupParameters(rollups: readonly Rollup[]): string[] {
  return COLUMNS.map((column) => numberArray(rollups.map((rollup) => rollup[column])));
}

function onlyThose({ names, name_P, step_P, value_P, at_P }: PointColumns, kept: ReadonlySet<string>): PointColumns {
  const isKept = (_: unknown, place: number): boolean => kept.has(`${name_P[place]} ${step_P[place]}`);
  return { names, name_P: name_P.filter(isKept), step_P: step_P.filter(isKept), value_P: value_P.filter(isKept), at_P: at_P.filter(isKept) };
}

/** What was added, if anything was. */
function addedSeries({ names, name_P, step_P, value_P }: PointColumns, rollups: readonly Rollup[], rows: readonly WholeRow[]): IngestedSeries[] {
  const stored = new Map(rows.map(({ name, nonfinite }) => [name, nonfinite]));
  return rollups.flatMap(({ name, level, count, nonfinite, first_step: from, last_step: to }) => {
    if (level !== WHOLE || !stored.has(name)) return [];
    const isFirst = nonfinite > 0 && stored.get(name) === nonfinite;
    const place = isFirst ? name_P.findIndex((other, at) => other === name && !Number.isFinite(value_P[at])) : -1;
    return [{ key: names[name - 1], from, to, points: count, alarm: place < 0 ? null : [step_P[place], value_P[place]] }];
  });
}
