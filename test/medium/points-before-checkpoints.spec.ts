import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { serviceEnvironment } from '../../src/config/service-settings.js';
import type { MetricsAnswer } from '../../src/metrics/metrics.schema.js';
import { compiled } from '../support/compiled.js';
import { TinyService } from '../support/tiny-service.js';

/** Longer than the test: points reach the database with a checkpoint, or not at all. */
const NEVER_MS = 3_600_000;
/** The advisory lock at which the worker is held. */
const GATE = 77;

let service: TinyService;
let gate: pg.Client;
let worker: ChildProcess | undefined;

beforeAll(async () => {
  service = await TinyService.start();
  gate = new pg.Client({ connectionString: service.workerSettings().databaseUrl });
  await gate.connect();
  await service.database.query(`create function pass_gate() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock_shared(${GATE}); return new; end $$`);
});
afterAll(async () => {
  worker?.kill('SIGKILL');
  await gate.end();
  await service.close();
});

async function launch(): Promise<ChildProcess> {
  const settings = service.workerSettings({ leaseMs: 3_000, metricsFlushMs: NEVER_MS, metricsFlushPoints: 1_000 });
  worker = fork(await compiled('src/main.worker.ts'), [], { env: { PATH: process.env.PATH, ...serviceEnvironment(settings) }, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  await once(worker, 'message');
  return worker;
}

/** Lets a worker come to the write that the trigger holds, kills it there, and clears the way. */
async function killAt(trigger: string): Promise<string> {
  await service.database.query(`create trigger gate ${trigger} execute function pass_gate()`);
  await gate.query(`select pg_advisory_lock(${GATE})`);
  const child = await launch();
  const id = await service.submit();
  const waiting = (): Promise<unknown[]> => service.database.query(`select 1 from pg_locks where locktype = 'advisory' and objid = ${GATE} and not granted`);
  await expect.poll(waiting, { timeout: 100_000, interval: 20 }).not.toEqual([]);
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
  return id;
}

async function openGate(table: string): Promise<void> {
  await gate.query(`select pg_advisory_unlock(${GATE})`);
  await service.database.query(`drop trigger gate on ${table}`);
}

const storedSteps = async (id: string): Promise<number[]> => {
  const rows = await service.database.query<{ step: number }>(`select step from metric_points p join metric_series s on s.id = p.series where s.run_id = $1 and s.key = 'distill/loss' order by step, attempt`, [id]);
  return rows.map(({ step }) => step);
};

async function charted(id: string, query = ''): Promise<{ readonly step: number; readonly attempt: number }[]> {
  const { json } = await service.get<MetricsAnswer>(`/v1/fine_tuning/jobs/${id}/metrics?keys=distill/loss${query}`);
  return json.data.flatMap(({ points }) => points.map(({ step, attempt }) => ({ step, attempt })));
}

it.each([
  ['before its checkpoint is committed', 'before update on run_files for each row when (new.name = \'state/distill.json\')', 'run_files', 3],
  ['when its checkpoint is committed but not yet told', 'before insert on checkpoints for each row when (new.step = 4)', 'checkpoints', 5],
])('a worker killed %s leaves one value for each step', async (_, trigger, table, resumedAt) => {
  const id = await killAt(trigger);
  expect(await storedSteps(id)).toEqual([1, 2, 3, 4]);
  await openGate(table);

  const child = await launch();
  const { status_details } = await service.until(id, ({ status }) => status === 'succeeded');
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;

  const steps = status_details.stages.find(({ name }) => name === 'distill')?.progress?.total ?? 0;
  const every = Array.from({ length: steps }, (_, index) => index + 1);
  const attempts = every.map((step) => ({ step, attempt: step < resumedAt ? 1 : 2 }));
  expect(steps).toBeGreaterThan(4);
  expect(await charted(id)).toEqual(attempts);
  const superseded = [3, 4].filter((step) => step >= resumedAt).map((step) => ({ step, attempt: 1 }));
  expect(await charted(id, '&include_superseded=true')).toHaveLength(steps + superseded.length);
  expect(await charted(id, '&include_superseded=true')).toEqual(expect.arrayContaining([...attempts, ...superseded]));
});
