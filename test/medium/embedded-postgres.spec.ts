import { mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, expect, it } from 'vitest';
import { EmbeddedServerFailed } from '../../src/embedded/embedded.errors.js';
import { commandLine, until } from '../../src/embedded/processes.js';
import { runningPostmaster, startPostgres, type PostgresOptions, type RunningPostgres } from '../../src/embedded/postgres.js';
import { useReachableDir } from '../support/reachable-dir.js';

const scratch = useReachableDir();
const running: RunningPostgres[] = [];

afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});

async function start(changes: Partial<PostgresOptions> = {}): Promise<RunningPostgres> {
  const limits = { maxConnections: 20, startMs: 60_000, stopMs: 20_000 };
  const server = await startPostgres({ dir: scratch('pg'), password: 'right', durable: false, ...limits, onNotice: () => undefined, ...changes });
  running.push(server);
  return server;
}

async function ask(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<{ answer: unknown }>(sql)).rows.map((row) => row.answer);
  } finally {
    await client.end();
  }
}

it('listens on 127.0.0.1 alone, asks for its password, and keeps its data over a stop', async () => {
  const first = await start();
  expect(await ask(first.url('postgres'), "select current_setting('listen_addresses') as answer union all select current_setting('unix_socket_directories')")).toEqual(['127.0.0.1', '']);
  expect(await ask(first.url('postgres'), "select current_setting('server_encoding') as answer")).toEqual(['UTF8']);
  await expect(ask(first.url('postgres').replace('right', 'wrong'), 'select 1')).rejects.toThrow('password authentication failed');
  await ask(first.url('postgres'), 'create table kept as select 7 as answer');
  await first.stop();
  expect(runningPostmaster(first.dataDir)).toBeUndefined();
  expect(commandLine(first.pid)).toBeUndefined();
  const second = await start();
  expect(await ask(second.url('postgres'), 'select answer from kept')).toEqual([7]);
});

it('stops one that a killed process left behind, and takes the data over', async () => {
  const left = await start();
  await ask(left.url('postgres'), 'create table kept as select 8 as answer');
  const next = await start();
  expect(commandLine(left.pid)).toBeUndefined();
  expect(next.pid).not.toBe(left.pid);
  expect(await ask(next.url('postgres'), 'select answer from kept')).toEqual([8]);
});

it('comes up after it was killed in the middle of a statement', async () => {
  const killed = await start();
  const busy = ask(killed.url('postgres'), 'select pg_sleep(600)').catch(() => 'cut');
  const sleeps = async (): Promise<boolean> => (await ask(killed.url('postgres'), "select 1 as answer from pg_stat_activity where wait_event = 'PgSleep'")).length === 1;
  await until(sleeps, 30_000);
  process.kill(killed.pid, 'SIGKILL');
  const next = await start({ port: killed.port });
  expect(await busy).toBe('cut');
  expect(next.port).toBe(killed.port);
  expect(await ask(next.url('postgres'), 'select 1 as answer')).toEqual([1]);
});

it('makes the cluster anew where making it was cut short', async () => {
  mkdirSync(join(scratch('pg'), 'data', 'base'), { recursive: true });
  const server = await start();
  expect(await ask(server.url('postgres'), 'select 1 as answer')).toEqual([1]);
});

it("fails with Postgres's own words", async () => {
  const server = await start();
  await server.stop();
  const failure = startPostgres({ dir: scratch('pg'), password: 'right', durable: true, maxConnections: 0, startMs: 20_000, stopMs: 5_000, onNotice: () => undefined });
  await expect(failure).rejects.toThrow(EmbeddedServerFailed);
  await expect(failure).rejects.toThrow('"max_connections"');
});

it.runIf(process.getuid!() === 0)('runs as nobody when this is root, from a reachable place when the directory is closed to it', async () => {
  const closed = scratch('closed');
  mkdirSync(closed, { mode: 0o700 });
  const notices: string[] = [];
  const server = await start({ dir: join(closed, 'pg'), onNotice: (line) => notices.push(line) });
  expect(statSync(server.dataDir).uid).toBe(65_534);
  expect(readFileSync(`/proc/${server.pid}/status`, 'utf8')).toMatch(/^Uid:\t65534/m);
  expect(server.dataDir).toMatch(/^\/var\/lib\/limbeck\/[0-9a-f]{12}\/data\/data$/);
  expect(notices).toEqual([expect.stringContaining(`the database lies in ${join(server.dataDir, '..')}`)]);
  await ask(server.url('postgres'), 'create table kept as select 9 as answer');
  await server.stop();
  const again = await start({ dir: join(closed, 'pg'), onNotice: (line) => notices.push(line) });
  expect(await ask(again.url('postgres'), 'select answer from kept')).toEqual([9]);
  expect(notices).toHaveLength(1);
  await again.stop();

  rmSync(join(closed, 'pg'), { recursive: true });
  const fresh = await start({ dir: join(closed, 'pg'), password: 'another' });
  expect(await ask(fresh.url('postgres'), "select count(*)::int as answer from pg_tables where tablename = 'kept'")).toEqual([0]);
  await fresh.stop();
  for (const { dataDir } of [server, fresh]) rmSync(join(dataDir, '..', '..'), { recursive: true });
});
