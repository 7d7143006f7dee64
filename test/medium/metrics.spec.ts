import { randomUUID } from 'node:crypto';
import type { DataSource } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { philoxUniform } from '../../src/common/philox.js';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { grouped } from '../../src/metrics/grouped.js';
import { MetricsChartRepository } from '../../src/metrics/metrics-chart.repository.js';
import { MetricsIngestRepository } from '../../src/metrics/metrics-ingest.repository.js';
import { MetricsService, type Ingested, type MetricPoint } from '../../src/metrics/metrics.service.js';
import { chartReference, type Remembered } from '../support/chart-reference.js';
import { freshDatabase, type TestDatabase } from '../support/service-servers.js';
import { storeRun } from '../support/stored-run.js';
import { watchedTx, type Seen } from '../support/watched-tx.js';

const RUN = 'ftjob-1';
const LOSS = 'distill/loss';

let fresh: TestDatabase;
let source: DataSource;
let database: Database;
let metrics: MetricsService;

beforeEach(async () => {
  fresh = await freshDatabase();
  source = await createDataSource({ url: fresh.url, poolSize: 8, statementMs: 60_000, connectMs: 5_000 }).initialize();
  database = new Database(source);
  metrics = new MetricsService(new MetricsIngestRepository(), new MetricsChartRepository(database));
  await storeRun(database, RUN);
});

afterEach(async () => {
  await database.onApplicationShutdown();
  await fresh.close();
});

function ingest(points: readonly MetricPoint[], { attempt = 1, batchId = randomUUID() as string } = {}): Promise<Ingested> {
  return database.transaction((tx) => metrics.ingest(tx, { runId: RUN, batchId, attempt, points }));
}

function line(key: string, from: number, to: number, valueOf: (step: number) => number): MetricPoint[] {
  return Array.from({ length: to - from + 1 }, (_, place) => ({ key, step: from + place, value: valueOf(from + place) }));
}

const POINT_COLUMNS = 'series, attempt, step, value, at';
/** Everything stored about metrics but the ids of batches. */
async function stored(): Promise<unknown> {
  const points = await database.query(`select ${POINT_COLUMNS} from metric_points order by series, attempt, step`);
  return { points, rollups: await rollups() };
}

const ROLLUP_COLUMNS = 'series, level, attempt, bucket, count, nonfinite, first_step, last_step, low_step, high_step, first, last, low, high';
function rollups(): Promise<unknown[]> {
  return database.query(`select ${ROLLUP_COLUMNS} from metric_rollups order by series, level, attempt, bucket`);
}

/** The rollups that the points ask for. */
function rollupsOfPoints(): Promise<unknown[]> {
  return database.query(`
    select series, level, attempt, step >> level as bucket, count(*)::int as count, count(*) filter (where not finite)::int as nonfinite,
      min(step) as first_step, max(step) as last_step,
      (array_agg(step order by value, step) filter (where finite))[1] as low_step, (array_agg(step order by value desc, step) filter (where finite))[1] as high_step,
      (array_agg(value order by step))[1] as first, (array_agg(value order by step desc))[1] as last,
      min(value) filter (where finite) as low, max(value) filter (where finite) as high
    from (select *, value not in ('NaN', 'Infinity', '-Infinity') as finite from metric_points) as points, unnest(array[6, 9, 12, 31]::smallint[]) as level
    group by 1, 2, 3, 4 order by 1, 2, 3, 4`);
}

function rollupsByKey(runId: string): Promise<unknown[]> {
  return database.query(`select key, ${ROLLUP_COLUMNS.replace('series, ', '')} from metric_rollups join metric_series on id = series where run_id = $1 order by key, level, attempt, bucket`, [runId]);
}

/** Points of one attempt. @returns whether the first way of storing them failed, which takes all of them for new. */
async function isStoredAgain(runId: string, points: readonly Remembered[]): Promise<boolean> {
  const seen: Seen[] = [];
  await database.transaction((tx) => metrics.ingest(watchedTx(tx, seen), { runId, batchId: randomUUID(), attempt: points[0].attempt, points }));
  return seen.some(({ sql }) => sql.startsWith('rollback to'));
}

describe('ingest', () => {
  it('stores a batch once, however often it comes', async () => {
    const batchId = randomUUID();
    const points = [...line(LOSS, 1, 300, (step) => step % 7), ...line('distill/grad_norm', 1, 300, (step) => 1 / step)];
    const first = await ingest(points, { batchId });
    expect(first).toEqual({
      inserted: 600,
      series: [
        { key: 'distill/grad_norm', attempt: 1, from: 1, to: 300 },
        { key: LOSS, attempt: 1, from: 1, to: 300 },
      ],
      alarms: [],
    });
    const after = await stored();
    for (let time = 0; time < 10; time++) expect(await ingest(points, { batchId })).toEqual({ inserted: 0, series: [], alarms: [] });
    expect(await stored()).toEqual(after);
  });

  it('adds nothing twice when a batch is cut anew, and keeps the first value of a step', async () => {
    await ingest(line(LOSS, 1, 100, () => 1));
    expect(await ingest(line(LOSS, 51, 150, () => 2))).toMatchObject({ inserted: 50, series: [{ from: 101, to: 150 }] });
    expect(await database.query('select value::int, count(*)::int from metric_points group by 1 order by 1')).toEqual([
      { value: 1, count: 100 },
      { value: 2, count: 50 },
    ]);
    expect(await rollups()).toEqual(await rollupsOfPoints());
  });

  it('sums up what is there, with writers that meet, late attempts, ties, and values that are not finite', async () => {
    const value = (step: number): number => (step % 97 === 0 ? NaN : step % 89 === 0 ? -Infinity : step % 10);
    const batches = Array.from({ length: 24 }, (_, place) => {
      const from = 40 * (place % 8) * 20;
      const points = [...line(LOSS, from, from + 499, value), ...line('distill/agreement', from, from + 499, value)];
      return { points: place % 2 === 0 ? points : points.reverse(), attempt: 1 + (place % 3) };
    });
    await Promise.all(batches.map(({ points, attempt }) => ingest(points, { attempt })));
    expect(await rollups()).toEqual(await rollupsOfPoints());
  });

  it('lets writers of the same points meet, and stores each point once', async () => {
    const points = [...line(LOSS, 0, 399, Math.sin), ...line('distill/agreement', 0, 399, Math.cos)];
    const writers = Array.from({ length: 8 }, (_, writer) => ingest(points.filter(({ step }) => step >= 25 * writer && step < 25 * writer + 200)));
    const inserted = (await Promise.all(writers)).reduce((sum, answer) => sum + answer.inserted, 0);
    expect(inserted).toBe(2 * (25 * 7 + 200));
    expect(await database.query('select count(*)::int from metric_points')).toEqual([{ count: inserted }]);
    expect(await rollups()).toEqual(await rollupsOfPoints());
  });

  it('comes to the same rollups and charts whether all points of a batch are new or some were there with another value', async () => {
    const again = 'ftjob-again';
    await storeRun(database, again);
    const remembered = randomRun();
    let overlapping = 0;
    for (const points of grouped(remembered, ({ attempt }) => attempt).values()) {
      for (let begin = 0; begin < points.length; begin += 700) {
        const overlap = Math.floor(300 * philoxUniform([7, 7], [begin, 0, 0, 0]));
        const fresh = points.slice(begin, begin + 700);
        const old = points.slice(Math.max(0, begin - overlap), begin).map((point) => ({ ...point, value: point.value + 1_000 }));
        expect(await isStoredAgain(RUN, fresh)).toBe(false);
        expect(await isStoredAgain(again, [...old, ...fresh])).toBe(old.length > 0);
        overlapping += Math.sign(old.length);
      }
    }
    expect(overlapping).toBeGreaterThan(10);
    expect(await rollups()).toEqual(await rollupsOfPoints());
    expect(await rollupsByKey(again)).toEqual(await rollupsByKey(RUN));
    const view = { from: 0, to: 2 ** 31 - 1, maxPoints: 200, shown: false };
    const expected = ['distill/agreement', LOSS].map((key) => chartReference(remembered, key, view).points);
    for (const run of [RUN, again]) expect((await metrics.chart(run, { maxPoints: 200 })).map(({ points }) => points)).toEqual(expected);
  });

  it('lets the first writers of a run go on side by side', async () => {
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (let batch = 0; batch < 12; batch++) {
        const from = 50 * (8 * batch + writer);
        await ingest([...line(LOSS, from, from + 49, Math.sin), ...line(`distill/of_${batch}`, from, from + 49, Math.cos)]);
      }
    });
    await Promise.all(writers);
    expect(await database.query('select count(*)::int from metric_points')).toEqual([{ count: 9_600 }]);
    expect(await rollups()).toEqual(await rollupsOfPoints());
  });

  it('is undone with the transaction, the series it made included', async () => {
    const undone = database.transaction(async (tx) => {
      await metrics.ingest(tx, { runId: RUN, batchId: randomUUID(), attempt: 1, points: line(LOSS, 1, 10, () => 1) });
      throw new Error('no');
    });
    await expect(undone).rejects.toThrow('no');
    expect(await metrics.keys(RUN)).toEqual([]);
    expect((await ingest(line(LOSS, 1, 10, () => 1))).inserted).toBe(10);
  });

  it('refuses too many points, steps that are none, and names that are none, and stores nothing of such a batch', async () => {
    await expect(ingest(line(LOSS, 0, 1_000, () => 1))).rejects.toMatchObject({ code: 'metrics.batch_too_large', kind: 'too_large' });
    await expect(ingest([{ key: LOSS, step: 1, value: 1 }, { key: LOSS, step: 1.5, value: 1 }])).rejects.toMatchObject({ code: 'metrics.point_invalid', kind: 'invalid' });
    await expect(ingest([{ key: LOSS, step: 2 ** 31, value: 1 }])).rejects.toMatchObject({ code: 'metrics.point_invalid' });
    for (const key of ['loss', 'Distill/loss', 'distill/', `distill/${'x'.repeat(200)}`]) await expect(ingest([{ key, step: 1, value: 1 }])).rejects.toMatchObject({ code: 'metrics.point_invalid' });
    expect(await stored()).toEqual({ points: [], rollups: [] });
  });

  it('tells of the first value of an attempt that is not finite, once', async () => {
    const nan = (step: number): number => (step < 5 ? 1 : NaN);
    expect((await ingest(line(LOSS, 1, 8, nan))).alarms).toEqual([{ key: LOSS, attempt: 1, step: 5, value: 'NaN' }]);
    expect((await ingest(line(LOSS, 9, 12, nan))).alarms).toEqual([]);
    expect((await ingest([{ key: LOSS, step: 6, value: Infinity }], { attempt: 2 })).alarms).toEqual([{ key: LOSS, attempt: 2, step: 6, value: 'Infinity' }]);
  });

  it('keeps times that are told, and is gone with its run', async () => {
    await ingest([{ key: LOSS, step: 3, value: 0.1, at: 1_700_000_000_000 }]);
    expect(await metrics.latest(RUN)).toEqual({ [LOSS]: { step: 3, attempt: 1, value: 0.1, at: 1_700_000_000 } });
    await database.query('delete from runs where id = $1', [RUN]);
    expect(await stored()).toEqual({ points: [], rollups: [] });
    expect(await database.query('select * from metric_batches')).toEqual([]);
  });
});

describe('chart', () => {
  it('shows one value a step: that of the newest attempt that took it', async () => {
    await ingest([...line(LOSS, 1, 30, () => 1), ...line('distill/grad_norm', 10, 10, () => 1), ...line('distill/grad_norm', 28, 28, () => 1), ...line('align/loss', 1, 40, () => 1)]);
    await ingest([...line(LOSS, 21, 25, () => 2), ...line('distill/grad_norm', 30, 30, () => 2)], { attempt: 2 });
    const [align, norm, loss] = await metrics.chart(RUN);
    expect(align.points).toHaveLength(40);
    expect(norm.points.map(({ step, attempt }) => [step, attempt])).toEqual([[10, 1], [30, 2]]);
    expect(loss.points.map(({ step, value }) => [step, value])).toEqual(Array.from({ length: 25 }, (_, place) => [place + 1, place < 20 ? 1 : 2]));
    expect(loss.latest).toMatchObject({ step: 25, attempt: 2, value: 2 });
    const [both] = await metrics.chart(RUN, { keys: [LOSS], superseded: 'shown' });
    expect(both.points.map(({ attempt }) => attempt)).toEqual([...new Array<number>(30).fill(1), ...new Array<number>(5).fill(2)]);
  });

  it('carries what no number of JSON can say, and keeps it out of the extremes', async () => {
    await ingest([1, NaN, Infinity, -Infinity, 3].map((value, step) => ({ key: LOSS, step, value })));
    const [{ points, latest }] = await metrics.chart(RUN);
    expect(points.map(({ value }) => Number(value))).toEqual([1, NaN, Infinity, -Infinity, 3]);
    expect(JSON.parse(JSON.stringify(points[1]))).toEqual({ step: 1, attempt: 1, value: 'NaN', min: null, max: null, count: 1, nonfinite: 1 });
    expect(latest?.value).toBe(3);
  });

  it('has nothing to show of a run that measured nothing, nor of a key it does not have', async () => {
    expect(await metrics.chart(RUN)).toEqual([]);
    await ingest(line(LOSS, 1, 2, () => 1));
    expect(await metrics.chart(RUN, { keys: ['distill/other'] })).toEqual([]);
    expect(await metrics.chart(RUN, { from: 5 })).toMatchObject([{ key: LOSS, points: [], latest: { step: 2 } }]);
  });

  it('equals the reference on random series, in every view', async () => {
    const remembered = randomRun();
    for (const [attempt, key] of [[1, LOSS], [2, LOSS], [3, LOSS], [1, 'distill/agreement'], [3, 'distill/agreement']] as const) {
      const points = remembered.filter((point) => point.attempt === attempt && point.key === key);
      for (let begin = 0; begin < points.length; begin += 1_000) await ingest(points.slice(begin, begin + 1_000), { attempt });
    }
    for (const [from, to] of [[0, 2 ** 31 - 1], [0, 130], [5_000, 5_000], [4_000, 9_000], [8_191, 40_959], [63, 70_000]]) {
      for (const maxPoints of [10, 37, 500]) {
        for (const shown of [false, true]) {
          const charts = await metrics.chart(RUN, { from, to, maxPoints, superseded: shown ? 'shown' : 'hidden' });
          const expected = ['distill/agreement', LOSS].map((key) => ({ key, ...chartReference(remembered, key, { from, to, maxPoints, shown }) }));
          expect(charts.map(({ key, points }) => ({ key, points })), `steps ${from} to ${to}, ${maxPoints} points`).toEqual(expected.map(({ key, points }) => ({ key, points })));
          expect(charts.map(({ latest }) => latest?.step)).toEqual(expected.map(({ latest }) => latest?.step));
        }
      }
    }
  });
});

/** Three attempts of one stage: sparse and dense stretches, values that tie, some not finite. */
function randomRun(): Remembered[] {
  const points: Remembered[] = [];
  for (const [key, attempt, first, last] of [[LOSS, 1, 1, 30_000], [LOSS, 2, 4_500, 6_000], [LOSS, 3, 5_200, 80_000], ['distill/agreement', 1, 100, 9_000], ['distill/agreement', 3, 5_100, 20_000]] as const) {
    for (let step = first; step <= last; ) {
      const chance = philoxUniform([attempt, key.length], [step, 0, 0, 0]);
      const value = chance < 0.01 ? NaN : chance < 0.02 ? Infinity : Math.round(chance * 50) / 8;
      points.push({ key, attempt, step, value });
      step += 1 + Math.floor(20 * philoxUniform([attempt, key.length], [step, 1, 0, 0]) ** 2);
    }
  }
  return points;
}

describe('points', () => {
  it('reads back what a batch added', async () => {
    const { series } = await ingest([...line(LOSS, 1, 3, (step) => step / 2), { key: 'align/loss', step: 7, value: NaN }].map((point) => ({ ...point, at: 5_000 })));
    expect(await metrics.points(RUN, series)).toEqual([
      { key: 'align/loss', attempt: 1, points: [{ step: 7, value: 'NaN', at: 5 }] },
      { key: LOSS, attempt: 1, points: [0.5, 1, 1.5].map((value, place) => ({ step: place + 1, value, at: 5 })) },
    ]);
    expect(await metrics.points(RUN, [])).toEqual([]);
  });
});
