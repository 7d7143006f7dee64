import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { buildProgram } from '../../src/cli/program.js';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { filesBelow } from '../../src/storage/census.js';
import { useScratchDir } from '../support/scratch-dir.js';
import { freshDatabase, type TestDatabase } from '../support/service-servers.js';
import { storeRun } from '../support/stored-run.js';

const KIB = 1024;
const path = useScratchDir();
let postgres: TestDatabase;
let database: Database;

beforeAll(async () => {
  postgres = await freshDatabase();
  database = new Database(await createDataSource({ url: postgres.url, poolSize: 2, statementMs: 30_000, connectMs: 5_000 }).initialize());
});
afterAll(async () => {
  await database.onApplicationShutdown();
  await postgres.close();
});
beforeEach(async () => {
  await database.query('delete from runs');
  vi.stubEnv('LIMBECK_DATABASE_URL', postgres.url);
  vi.stubEnv('LIMBECK_STORE_DIR', path());
});
afterEach(() => {
  vi.unstubAllEnvs();
});

/** Runs `gc` with JSON. @returns what it removed, one line each. */
async function gc(...args: string[]): Promise<string[]> {
  const { removed } = JSON.parse(await output(...args, '--json')) as { removed: { job: string; kind: string; files: number; bytes: number }[] };
  return removed.map(({ job, kind, files, bytes }) => `${job} ${kind} ${files} ${bytes}`);
}

async function output(...args: string[]): Promise<string> {
  const lines: string[] = [];
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => lines.push(String(text)) > 0);
  await (await buildProgram('gc')).parseAsync(['gc', ...args], { from: 'user' }).finally(() => write.mockRestore());
  return lines.join('');
}

const fileOf = (runId: string, place: string): string => join(path(), 'runs', runId, place);

async function put(runId: string, place: string, bytes: number): Promise<void> {
  await mkdir(dirname(fileOf(runId, place)), { recursive: true });
  await writeFile(fileOf(runId, place), Buffer.alloc(bytes));
}

/** A run with 2 KiB of checkpoints, 1.5 KiB of targets and 100 bytes beside them, all of it named by rows. @param finishedAt seconds, for those that are finished. */
async function keepRun(runId: string, status: string, finishedAt?: number): Promise<void> {
  await storeRun(database, runId);
  await database.query('update runs set status = $2, finished_at = to_timestamp($3) where id = $1', [runId, status, finishedAt ?? null]);
  await database.query(
    `insert into checkpoints (id, run_id, stage, step, epoch, name, bytes, metrics, state) values ($1 || '-c', $1, 'distill', 4, 1, 'checkpoints/distill/4.1', $2, '{}', 'committed')`,
    [runId, 2 * KIB],
  );
  await put(runId, 'checkpoints/distill/4.1/state', 2 * KIB - 24);
  await put(runId, 'checkpoints/distill/4.1/manifest', 24);
  for (const [name, bytes] of [['shards/train-0', KIB], ['journal/align-1.bin', KIB / 2], ['run.json', 100]] as const) {
    await database.query(`insert into run_files (run_id, name, place, bytes, stage, epoch) values ($1, $2, $2 || '.collect-1-1', $3, 'collect', 1)`, [runId, name, bytes]);
    await put(runId, `${name}.collect-1-1`, bytes);
  }
}

const placesOf = async (runId: string): Promise<string[]> => (await filesBelow(fileOf(runId, '.'))).map((file) => file.path);
const CHECKPOINTS = ['checkpoints/distill/4.1/manifest', 'checkpoints/distill/4.1/state'];
const TARGETS = ['journal/align-1.bin.collect-1-1', 'shards/train-0.collect-1-1'];
const WHOLE = [...CHECKPOINTS, TARGETS[0], 'run.json.collect-1-1', TARGETS[1]];

it('lets go of the checkpoints of the jobs that ended first until the rest fits, rows and bytes', async () => {
  await keepRun('ftjob-young', 'failed', 300);
  await keepRun('ftjob-old', 'succeeded', 100);
  await keepRun('ftjob-middle', 'cancelled', 200);

  expect(await gc('--max-checkpoints-bytes', '3KiB')).toEqual([`ftjob-old checkpoints 2 ${2 * KIB}`, `ftjob-middle checkpoints 2 ${2 * KIB}`]);

  expect(await placesOf('ftjob-old')).toEqual(WHOLE.slice(2));
  expect(await placesOf('ftjob-young')).toEqual(WHOLE);
  expect(await database.query('select run_id, state from checkpoints order by run_id')).toEqual([
    { run_id: 'ftjob-middle', state: 'expired' },
    { run_id: 'ftjob-old', state: 'expired' },
    { run_id: 'ftjob-young', state: 'committed' },
  ]);
  expect(await gc('--max-checkpoints-bytes', '3KiB')).toEqual([]);
});

it('lets go of stored targets likewise, and of nothing without a limit', async () => {
  await keepRun('ftjob-old', 'succeeded', 100);
  await keepRun('ftjob-young', 'succeeded', 200);

  expect(await gc()).toEqual([]);
  expect(await gc('--max-targets-bytes', '1.5KiB')).toEqual([`ftjob-old targets 2 ${1.5 * KIB}`]);

  expect(await placesOf('ftjob-old')).toEqual([...CHECKPOINTS, 'run.json.collect-1-1']);
  expect(await database.query(`select name from run_files where run_id = 'ftjob-old'`)).toEqual([{ name: 'run.json' }]);
  expect(await placesOf('ftjob-young')).toEqual(WHOLE);
});

it.each(['validating_files', 'queued', 'running', 'pausing', 'paused'])('touches nothing of a job that is %s, not even what no row names', async (status) => {
  await keepRun('ftjob-live', status);
  await put('ftjob-live', 'checkpoints/distill/6.1/state', 5);

  expect(await gc('--max-checkpoints-bytes', '0', '--max-targets-bytes', '0')).toEqual([]);

  expect(await placesOf('ftjob-live')).toEqual([...CHECKPOINTS, 'checkpoints/distill/6.1/state', ...WHOLE.slice(2)]);
});

it('removes what belongs to nothing: directories of deleted jobs, and files of finished ones that no row names', async () => {
  await keepRun('ftjob-done', 'succeeded', 100);
  await put('ftjob-done', 'checkpoints/distill/2.1/state', 7);
  await put('ftjob-done', 'shards/.train-0.partial', 3);
  await put('ftjob-gone', 'run.json.validate-1-1', 11);

  expect(await gc()).toEqual(['ftjob-gone orphan 1 11', 'ftjob-done leftovers 2 10']);

  expect(await readdir(join(path(), 'runs'))).toEqual(['ftjob-done']);
  expect(await placesOf('ftjob-done')).toEqual(WHOLE);
});

it('goes on after it was killed between rows and bytes', async () => {
  await keepRun('ftjob-done', 'succeeded', 100);
  await database.query(`delete from run_files where run_id = 'ftjob-done' and name <> 'run.json'`);
  await database.query(`update checkpoints set state = 'expired'`);

  expect(await gc('--max-checkpoints-bytes', '1TiB')).toEqual([`ftjob-done leftovers 4 ${3.5 * KIB}`]);

  expect(await placesOf('ftjob-done')).toEqual(['run.json.collect-1-1']);
});

it('takes nothing from a job that is being deleted meanwhile', async () => {
  await keepRun('ftjob-done', 'succeeded', 100);
  await keepRun('ftjob-other', 'succeeded', 200);
  let removed: Promise<string[]> = Promise.resolve([]);
  await database.transaction(async (tx) => {
    await tx.query(`delete from runs where id = 'ftjob-done'`);
    removed = gc('--max-checkpoints-bytes', '0');
    await expect.poll(() => database.query(`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`), { timeout: 60_000, interval: 10 }).not.toEqual([]);
  });

  expect(await removed).toEqual([`ftjob-other checkpoints 2 ${2 * KIB}`]);
  expect(await placesOf('ftjob-done')).toEqual(WHOLE);
});

it('only says what it would do when it is asked to, in a table', async () => {
  await keepRun('ftjob-done', 'succeeded', 100);

  const text = await output('--max-checkpoints-bytes', '0', '--dry-run');

  expect(text.replace(/ +/g, ' ').trim().split('\n').filter((line) => !line.startsWith('|-'))).toEqual([
    '| job | would remove | files | size |',
    '| ftjob-done | checkpoints | 2 | 2.0 KiB |',
    '| all | | 2 | 2.0 KiB |',
  ]);
  expect(await placesOf('ftjob-done')).toEqual(WHOLE);
  expect(await database.query('select state from checkpoints')).toEqual([{ state: 'committed' }]);
});

it('refuses a store of which the database knows nothing', async () => {
  await put('ftjob-foreign', 'run.json.validate-1-1', 11);

  await expect(gc()).rejects.toMatchObject({ code: 'gc.store_of_another', message: expect.stringContaining(path()) });

  expect(await placesOf('ftjob-foreign')).toEqual(['run.json.validate-1-1']);
});

it('refuses half a place, and a size that is none', async () => {
  await expect(gc('--max-targets-bytes', '10GB')).rejects.toMatchObject({ code: 'cli.argument_invalid', message: expect.stringContaining('--max-targets-bytes is "10GB"') });
  vi.stubEnv('LIMBECK_STORE_DIR', undefined);
  await expect(gc()).rejects.toMatchObject({ code: 'cli.argument_invalid', message: expect.stringContaining('LIMBECK_STORE_DIR') });
  vi.stubEnv('LIMBECK_DATABASE_URL', undefined);
  await expect(gc('--data', '/nowhere')).rejects.toMatchObject({ code: 'cli.argument_invalid', message: expect.stringContaining('/nowhere') });
});
