import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { migrations } from '../../migrations/index.js';
import { MigrationBlocked } from '../../src/database/database.errors.js';
import { MIGRATE_DEFAULTS, MIGRATION_LOCK, migrate } from '../../src/database/migrate.js';
import { until } from '../../src/embedded/processes.js';
import { emptyDatabase, type TestDatabase } from '../support/service-servers.js';

const names = migrations.map((migration) => new migration().name);
const LIMIT_MS = 30_000;
let database: TestDatabase;
let client: pg.Client;

beforeEach(async () => {
  database = await emptyDatabase();
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
});

afterEach(async () => {
  await client.end();
  await database.close();
});

const run = (changes: { waitMs?: number; lockMs?: number } = {}): Promise<string[]> => migrate({ ...MIGRATE_DEFAULTS, url: database.url, ...changes });

async function recorded(): Promise<string[]> {
  return (await client.query<{ name: string }>('select name from migrations order by id')).rows.map(({ name }) => name);
}

it('applies each migration once, however many ask at the same time, and nothing the second time', async () => {
  const applied = await Promise.all(Array.from({ length: 5 }, () => run()));
  expect(applied.filter((list) => list.length > 0)).toEqual([names]);
  expect(await run()).toEqual([]);
  expect(await recorded()).toEqual(names);
});

it('says so when another process does not come to its end, and changes nothing', async () => {
  await client.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]);
  const blocked = run({ waitMs: 50 });
  await expect(blocked).rejects.toThrow(MigrationBlocked);
  await expect(blocked).rejects.toThrow('another process has been migrating it for 50 ms');
  expect((await client.query("select to_regclass('runs') as found")).rows).toEqual([{ found: null }]);
});

it('goes on when the process that was migrating is killed', async () => {
  const holder = spawn(process.execPath, ['--input-type=module', '-e', HOLDER, database.url, String(MIGRATION_LOCK)], { cwd: join(import.meta.dirname, '..', '..'), stdio: ['ignore', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  const applied = run();
  const waits = async (): Promise<boolean> => (await client.query("select from pg_locks where locktype = 'advisory' and not granted")).rowCount === 1;
  expect(await until(waits, LIMIT_MS)).toBe(true);
  holder.kill('SIGKILL');
  expect(await applied).toEqual(names);
});

it('does not wait long for a table that is in use, and undoes what it had begun', async () => {
  await run();
  await client.query("delete from migrations where name = $1", [names.at(-1)]);
  await client.query('alter table nodes drop column drain_requested_at'); // which the last migration adds
  await client.query('begin; lock table nodes in access exclusive mode');
  await expect(run({ lockMs: 50 })).rejects.toThrow('running processes held a table for more than 50 ms');
  await client.query('rollback');
  expect(await recorded()).toEqual(names.slice(0, -1));
  expect(await run()).toEqual(names.slice(-1));
});

const HOLDER = `
  import pg from 'pg';
  const client = new pg.Client({ connectionString: process.argv[1] });
  await client.connect();
  await client.query('select pg_advisory_lock($1)', [process.argv[2]]);
  console.log('held');
`;
