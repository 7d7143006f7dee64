import { randomUUID } from 'node:crypto';
import type { DataSource } from 'typeorm';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { MetricsChartRepository } from '../../src/metrics/metrics-chart.repository.js';
import { MetricsIngestRepository } from '../../src/metrics/metrics-ingest.repository.js';
import { MetricsService } from '../../src/metrics/metrics.service.js';
import { freshDatabase, type TestDatabase } from '../support/service-servers.js';
import { storeRun } from '../support/stored-run.js';
import { watchedTx, type Seen } from '../support/watched-tx.js';

const RUN = 'ftjob-1';
const LOSS = 'distill/loss';
const STEPS = 1_000_000;
const SPIKE = 345_678;

interface Statement {
  readonly sql: string;
  readonly parameters: readonly unknown[];
  readonly rows: number;
}

/** A database that remembers what was asked of it. */
class WatchedDatabase extends Database {
  readonly statements: Statement[] = [];

  override async query<Row>(sql: string, parameters: readonly unknown[] = []): Promise<Row[]> {
    const rows = await super.query<Row>(sql, parameters);
    this.statements.push({ sql, parameters, rows: rows.length });
    return rows;
  }
}

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly Plans?: readonly PlanNode[];
}

let fresh: TestDatabase;
let source: DataSource;
let database: WatchedDatabase;
let metrics: MetricsService;

beforeAll(async () => {
  fresh = await freshDatabase();
  source = await createDataSource({ url: fresh.url, poolSize: 4, statementMs: 120_000, connectMs: 5_000 }).initialize();
  database = new WatchedDatabase(source);
  metrics = new MetricsService(new MetricsIngestRepository(), new MetricsChartRepository(database));
  await storeRun(database, RUN);
  await database.transaction((tx) => metrics.ingest(tx, { runId: RUN, batchId: randomUUID(), attempt: 1, points: [{ key: LOSS, step: 0, value: 0 }] }));
  await database.query(`insert into metric_points (series, attempt, step, value, at) select id, 1, step, case when step = $1 then 1e6 else sin(step) end, now() from metric_series, generate_series(1, $2 - 1) as step`, [SPIKE, STEPS]);
  await database.query(`
    insert into metric_rollups (series, level, attempt, bucket, count, nonfinite, first_step, last_step, low_step, high_step, first, last, low, high)
    select series, level, attempt, step >> level, count(*), 0, min(step), max(step), (min(array[value, step]))[2], -(max(array[value, -step]))[2],
      (min(array[step, value]))[2], (max(array[step, value]))[2], min(value), max(value)
    from metric_points, unnest(array[6, 9, 12, 31]) as level group by 1, 2, 3, 4
    on conflict (series, level, attempt, bucket) do update set count = excluded.count, last_step = excluded.last_step, last = excluded.last, low = excluded.low, high = excluded.high`);
  await database.query('analyze');
});

afterAll(async () => {
  await database.onApplicationShutdown();
  await fresh.close();
});

async function watched<Result>(work: () => Promise<Result>): Promise<{ result: Result; statements: readonly Statement[] }> {
  database.statements.length = 0;
  const result = await work();
  return { result, statements: [...database.statements] };
}

/** Every node of what Postgres does for a statement, carried out and undone. */
async function planNodes(sql: string, parameters: readonly unknown[]): Promise<PlanNode[]> {
  const run = source.createQueryRunner();
  try {
    await run.startTransaction();
    const [{ 'QUERY PLAN': plan }] = (await run.query(`explain (analyze, timing off, format json) ${sql}`, [...parameters])) as { 'QUERY PLAN': { Plan: PlanNode }[] }[];
    return nodesOf(plan[0].Plan);
  } finally {
    await run.rollbackTransaction();
    await run.release();
  }
}

function nodesOf(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(nodesOf)];
}

/** Most rows finer than the level of a chart, before its first whole row and after its last. */
const AT_THE_ENDS = 2 * (63 + 7 + 7);
const HELD = ['metric_points', 'metric_rollups'];

function rowsRead(nodes: readonly PlanNode[]): number {
  return nodes.filter((node) => HELD.includes(node['Relation Name'] ?? '')).reduce((sum, node) => sum + node['Actual Rows'] * node['Actual Loops'], 0);
}

it('shows a spike of one step, the first point and the last, within the rows that were asked for, the same each time', async () => {
  const { result, statements } = await watched(() => metrics.chart(RUN));
  const [{ points, level }] = result;
  expect(level).toBe(512);
  expect(points.length).toBeGreaterThan(400);
  expect(points.length).toBeLessThanOrEqual(500);
  expect(points.filter(({ max }) => max === 1e6).map(({ step }) => step >> 11)).toEqual([SPIKE >> 11]);
  expect(points[0]).toEqual({ step: 0, attempt: 1, value: 0, min: 0, max: 0, count: 1, nonfinite: 0 });
  expect(points.at(-1)).toMatchObject({ step: STEPS - 1, value: Math.sin(STEPS - 1) });
  expect(points.reduce((sum, { count }) => sum + count, 0)).toBe(STEPS);
  expect(statements.reduce((sum, { rows }) => sum + rows, 0)).toBeLessThanOrEqual(501);
  expect(JSON.stringify(await metrics.chart(RUN))).toBe(JSON.stringify(result));
});

it('reads at most 32 rows a point and few at the ends, and never a table whole, at every zoom', async () => {
  for (const [from, to, maxPoints, level] of [[0, STEPS, 500, 512], [0, STEPS, 10, 4096], [300_000, 400_000, 2_000, 64], [345_000, 346_000, 500, 1], [1, 999_998, 100, 4096]]) {
    const { result, statements } = await watched(() => metrics.chart(RUN, { from, to, maxPoints }));
    expect(result[0].level).toBe(level);
    for (const { sql, parameters } of statements) {
      const nodes = await planNodes(sql, parameters);
      expect(nodes.filter((node) => node['Node Type'] === 'Seq Scan' && HELD.includes(node['Relation Name'] ?? ''))).toEqual([]);
      expect(rowsRead(nodes)).toBeLessThanOrEqual(32 * maxPoints + AT_THE_ENDS);
    }
  }
});

it('shows a spike closer when zoomed in', async () => {
  const [{ points, level }] = await metrics.chart(RUN, { from: SPIKE - 100, to: SPIKE + 100 });
  expect(level).toBe(1);
  expect(points).toHaveLength(201);
  expect(points[100]).toMatchObject({ step: SPIKE, value: 1e6 });
});

/** What storing a point at each of these steps takes; nothing of it stays. */
async function statementsOfBatch(steps: readonly number[]): Promise<Seen[]> {
  const seen: Seen[] = [];
  const points = steps.map((step) => ({ key: LOSS, step, value: 1 }));
  const undone = database.transaction(async (tx) => {
    await metrics.ingest(watchedTx(tx, seen), { runId: RUN, batchId: randomUUID(), attempt: 1, points });
    throw new Error('undone');
  });
  await expect(undone).rejects.toThrow('undone');
  return seen.filter(({ sql }) => HELD.some((table) => sql.includes(`into ${table}`)));
}

it('finds the latest values and the points of a feed entry, and stores a batch, by index alone', async () => {
  const { statements } = await watched(async () => {
    expect(await metrics.latest(RUN)).toMatchObject({ [LOSS]: { step: STEPS - 1 } });
    await metrics.points(RUN, [{ key: LOSS, attempt: 1, from: 500_000, to: 500_032 }]);
  });
  const stored = [...(await statementsOfBatch([STEPS])), ...(await statementsOfBatch([STEPS - 1, STEPS]))];
  expect(stored.map(({ sql }) => HELD.filter((table) => sql.includes(`into ${table}`)))).toEqual([HELD, ['metric_points'], ['metric_rollups']]);
  for (const { sql, parameters } of [...statements, ...stored]) {
    const nodes = await planNodes(sql, parameters);
    expect(nodes.filter((node) => node['Node Type'] === 'Seq Scan' && HELD.includes(node['Relation Name'] ?? ''))).toEqual([]);
    expect(rowsRead(nodes)).toBeLessThanOrEqual(100);
  }
});
