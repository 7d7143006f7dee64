import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import type { Database } from '../../../database/database.js';
import { MetricsChartRepository } from '../../../metrics/metrics-chart.repository.js';
import { MetricsIngestRepository } from '../../../metrics/metrics-ingest.repository.js';
import { BATCH_POINTS_MOST, MetricsService, type MetricPoint } from '../../../metrics/metrics.service.js';
import type { Figure } from '../figure.js';
import { closeClients, openClients } from './clients.js';
import { interleaved, milliseconds, perSecond } from './interleaved.js';
import { CONNECTIONS, openDatabase, type BenchServers } from './servers.js';

const ROUNDS = 5;
const KEYS = Array.from({ length: 20 }, (_, number) => `distill/metric_${String(number).padStart(2, '0')}`);
const STEPS = 25;
const BATCH = KEYS.length * STEPS;
const BATCHES = 160;
const CHART_KEY = 'distill/loss';
const CHART_STEPS = 1_000_000;
const CHART_RUN = 'ftjob-chart';

/** Writing measurements and charting them, without HTTP, as worker and API do it. */
export async function measureMetrics(servers: BenchServers): Promise<Figure[]> {
  const url = await servers.newDatabase('metrics');
  const [database, clients] = [await openDatabase(url), await openClients(url)];
  const metrics = new MetricsService(new MetricsIngestRepository(), new MetricsChartRepository(database));
  try {
    await makeRuns(clients[0]);
    return [await ingestFigure({ metrics, database, clients }), await chartFigure({ metrics, database, clients })];
  } finally {
    await closeClients(clients);
    await database.onApplicationShutdown();
  }
}

interface Ground {
  readonly metrics: MetricsService;
  readonly database: Database;
  readonly clients: readonly pg.Client[];
}

async function makeRuns(client: pg.Client): Promise<void> {
  await client.query(`insert into models (name, source, architecture, parameters, bytes, files, place) values ('m', 'uploaded', 'llama', 1, 1, '[]', 'm')`);
  await client.query(`insert into files (id, filename, purpose, bytes, sha256, prompts, place) values ('f', 'f', 'fine-tune', 1, '', 1, 'f')`);
  await client.query(`insert into teachers (id, name, dialect, base_url, model) values ('t', 't', 'vllm', 'http://127.0.0.1:1', 't')`);
  await client.query(
    `insert into runs (id, status, model, training_file, validation_file, teacher_id, suffix, seed, spec, spec_hash, lineage)
     select id, 'running', 'm', 'f', 'f', 't', 's', 1, '{}', 'h', '{}' from unnest($1::text[]) as id`,
    [[CHART_RUN, ...Array.from({ length: CONNECTIONS }, (_, lane) => runOf(lane))]],
  );
}

function runOf(lane: number): string {
  return `ftjob-${lane}`;
}

/** What a training loop measures in `STEPS` steps. */
function batchOf(number: number): MetricPoint[] {
  return Array.from({ length: STEPS }, (_, place) => number * STEPS + place).flatMap((step) => KEYS.map((key, column) => ({ key, step, value: Math.sin(step + column), at: 1.7e12 + step })));
}

async function ingestFigure({ metrics, database, clients }: Ground): Promise<Figure> {
  let batch = 0;
  const ours = (): Promise<number> =>
    perSecond(BATCHES, CONNECTIONS, (_, lane) => {
      const points = batchOf(batch++);
      return database.transaction((tx) => metrics.ingest(tx, { runId: runOf(lane), batchId: randomUUID(), attempt: 1, points }));
    });
  const inserts: number[] = [];
  const plain = async (): Promise<number> => {
    const columns = await perSecond(BATCHES, CONNECTIONS, (_, lane) => insertColumns(clients[lane], lane, batchOf(batch++)));
    const values = await perSecond(BATCHES, CONNECTIONS, (_, lane) => insertValues(clients[lane], lane, batchOf(batch++)));
    inserts.push(values / columns);
    return Math.max(columns, values);
  };
  await clients[0].query('create table plain_points (like metric_points including all)');
  const { ours: value, limit } = await interleaved(ROUNDS, ours, plain);
  const [ourPoints, plainPoints] = [(value * BATCH) / 1000, (limit * BATCH) / 1000];
  const shape = `${BATCH} points of ${KEYS.length} keys in a transaction, ${CONNECTIONS} at a time; multi-row / unnest ${(inserts.reduce((sum, ratio) => sum + ratio, 0) / inserts.length).toFixed(2)}`;
  return { name: 'metric points stored (limit: plain pg, a narrow table)', shape, value: ourPoints, unit: 'k/s', limit: plainPoints, share: value / limit, goal: { atLeast: 0.5 } };
}

const COLUMNS = 'series, attempt, step, value, at';

async function insertColumns(client: pg.Client, lane: number, points: readonly MetricPoint[]): Promise<void> {
  const literal = (values: readonly (number | string)[]): string => `{${values.join(',')}}`;
  await client.query(`insert into plain_points (${COLUMNS}) select series, 1, step, value, at from unnest($1::int[], $2::int[], $3::float8[], $4::timestamptz[]) as point (series, step, value, at)`, [
    literal(points.map(({ key }) => seriesOf(lane, key))),
    literal(points.map(({ step }) => step)),
    literal(points.map(({ value }) => value)),
    literal(points.map(({ at }) => new Date(at!).toISOString())),
  ]);
}

async function insertValues(client: pg.Client, lane: number, points: readonly MetricPoint[]): Promise<void> {
  const rows = points.map((_, row) => `($${row * 5 + 1}, $${row * 5 + 2}, $${row * 5 + 3}, $${row * 5 + 4}, $${row * 5 + 5})`);
  await client.query(`insert into plain_points (${COLUMNS}) values ${rows.join(', ')}`, points.flatMap(({ key, step, value, at }) => [seriesOf(lane, key), 1, step, value, new Date(at!)]));
}

function seriesOf(lane: number, key: string): number {
  return lane * KEYS.length + KEYS.indexOf(key);
}

async function chartFigure({ metrics, database, clients: [client] }: Ground): Promise<Figure> {
  await perSecond(CHART_STEPS / BATCH_POINTS_MOST, CONNECTIONS, (batch) => {
    const points = Array.from({ length: BATCH_POINTS_MOST }, (_, place) => batch * BATCH_POINTS_MOST + place).map((step) => ({ key: CHART_KEY, step, value: Math.sin(step) }));
    return database.transaction((tx) => metrics.ingest(tx, { runId: CHART_RUN, batchId: randomUUID(), attempt: 1, points }));
  });
  await client.query('vacuum analyze');
  const raw = 'select step, value from metric_points where series = (select id from metric_series where run_id = $1 and key = $2) order by step';
  const ours = (): Promise<number> => milliseconds(() => metrics.chart(CHART_RUN, { keys: [CHART_KEY] }));
  const plain = (): Promise<number> => milliseconds(() => client.query({ text: raw, values: [CHART_RUN, CHART_KEY], rowMode: 'array' }));
  const { ours: value, limit } = await interleaved(ROUNDS, ours, plain);
  return { name: 'chart of 1M points (limit: selecting the points)', shape: '500 points, from rollups', value, unit: 'ms', limit, share: value / limit, goal: { atMost: 0.02 } };
}
