import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MigrationExecutor } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { migrations } from '../../migrations/index.js';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { MIGRATE_DEFAULTS, migrate } from '../../src/database/migrate.js';
import { dumpSchema } from '../support/schema-dump.js';
import { emptyDatabase, freshDatabase, type TestDatabase } from '../support/service-servers.js';

const committed = join(import.meta.dirname, '..', '..', 'migrations', 'schema.txt');
const opened: (() => Promise<void>)[] = [];
let database: TestDatabase;

beforeEach(async () => {
  database = await freshDatabase();
});

afterEach(async () => {
  for (const close of opened.splice(0)) await close();
  await database.close();
});

async function open(url: string): Promise<Database> {
  const source = await createDataSource({ url, poolSize: 1, statementMs: 30_000, connectMs: 5_000 }).initialize();
  opened.push(() => source.destroy());
  return new Database(source);
}

it('is the one that is committed', async () => {
  const dump = (await dumpSchema(await open(database.url))).map((line) => `${line}\n`).join('');
  if (process.env['UPDATE_SCHEMA'] === '1') writeFileSync(committed, dump);
  const known = existsSync(committed) ? readFileSync(committed, 'utf8') : '';
  expect(dump, 'the migrations make another schema than migrations/schema.txt says: if that is meant, run `UPDATE_SCHEMA=1 npx vitest run --project here test/medium/schema.spec.ts` and commit the file').toBe(known);
});

it('is gone when every migration is undone, and the same when they are applied again', async () => {
  const empty = await emptyDatabase();
  await migrate({ ...MIGRATE_DEFAULTS, url: empty.url });
  const source = await createDataSource({ url: empty.url, poolSize: 1, statementMs: 30_000, connectMs: 5_000 }).initialize();
  const runner = source.createQueryRunner();
  const tables = new Database(source);
  const before = await dumpSchema({ query: (sql) => runner.query(sql) });
  for (let undone = 0; undone < migrations.length; undone++) await new MigrationExecutor(source, runner).undoLastMigration();
  expect((await dumpSchema({ query: (sql) => runner.query(sql) })).filter((line) => !line.includes('migrations'))).toEqual([]);
  await runner.release();
  await tables.onApplicationShutdown();
  await migrate({ ...MIGRATE_DEFAULTS, url: empty.url });
  const again = await open(empty.url);
  expect(await dumpSchema(again)).toEqual(before);
  for (const close of opened.splice(0)) await close();
  await empty.close();
});

describe("a worker's role", () => {
  it.each(['api_keys', 'idempotency_keys'])('cannot read %s', async (table) => {
    const worker = await open(database.workerUrl);
    await expect(worker.query(`select * from ${table}`)).rejects.toThrow(`permission denied for table ${table}`);
  });

  it('cannot register a teacher, a file or a run, nor make tables, nor undo that it was limited', async () => {
    const worker = await open(database.workerUrl);
    await expect(worker.query("insert into teachers (id, name, dialect, base_url, model) values ('teacher-1', 'a', 'vllm', 'http://a', 'm')")).rejects.toThrow('permission denied for table teachers');
    await expect(worker.query('delete from files')).rejects.toThrow('permission denied for table files');
    await expect(worker.query('delete from runs')).rejects.toThrow('permission denied for table runs');
    await expect(worker.query('create table mine (a int)')).rejects.toThrow('permission denied for schema public');
    await expect(worker.query('set role postgres')).rejects.toThrow('permission denied to set role');
  });

  it('reads what a run names, and writes what a stage leaves', async () => {
    const worker = await open(database.workerUrl);
    for (const table of ['runs', 'teachers', 'files', 'models', 'migrations']) expect(Array.isArray(await worker.query(`select * from ${table}`))).toBe(true);
    for (const table of ['stages', 'run_files', 'events', 'checkpoints', 'run_samples', 'nodes', 'metric_points']) expect(await worker.query(`delete from ${table}`)).toEqual([]);
    expect(await worker.query('update runs set seq = seq + 1 returning id')).toEqual([]);
  });
});
