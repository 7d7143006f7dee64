import pg from 'pg';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { DatabaseListener } from '../../src/database/listener.js';
import { freshDatabase, type TestDatabase } from '../support/service-servers.js';

let database: TestDatabase;
let admin: pg.Client;
let listener: DatabaseListener;

beforeEach(async () => {
  database = await freshDatabase();
  admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  listener = new DatabaseListener({ url: database.url, connectMs: 5_000, retryMs: 10 });
});

afterEach(async () => {
  await listener.onApplicationShutdown();
  await admin.end();
  await database.close();
});

/** What was heard, and a promise for each place in it. */
function ear() {
  const heard: (string | undefined)[] = [];
  const waiting: (() => void)[] = [];
  return {
    hear: (payload: string | undefined) => {
      heard.push(payload);
      waiting.splice(0).forEach((wake) => wake());
    },
    async first(count: number): Promise<(string | undefined)[]> {
      while (heard.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
      return heard.slice(0, count);
    },
  };
}

it('says when listening is in force, then each payload of its channel', async () => {
  const ours = ear();
  const other = ear();
  listener.listen('run_changed', ours.hear);
  await ours.first(1);
  listener.listen('stage_orders', other.hear);
  await other.first(1);
  await admin.query("select pg_notify('run_changed', 'ftjob-a'), pg_notify('stage_orders', '7'), pg_notify('run_changed', 'ftjob-b')");
  expect(await ours.first(3)).toEqual([undefined, 'ftjob-a', 'ftjob-b']);
  expect(await other.first(2)).toEqual([undefined, '7']);
});

it('connects again after its connection was cut, and says that something may have been missed', async () => {
  const { hear, first } = ear();
  listener.listen('run_changed', hear);
  await first(1);
  const cut = await admin.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'limbeck listener' and datname = current_database()");
  expect(cut.rowCount).toBe(1);
  await first(2);
  await admin.query("select pg_notify('run_changed', 'ftjob-c')");
  expect(await first(3)).toEqual([undefined, undefined, 'ftjob-c']);
});

it('tells nothing more to one that has ended', async () => {
  const stays = ear();
  const leaves = ear();
  listener.listen('run_changed', stays.hear);
  const leave = listener.listen('run_changed', leaves.hear);
  await Promise.all([stays.first(1), leaves.first(1)]);
  leave();
  await admin.query("select pg_notify('run_changed', 'ftjob-d')");
  expect(await stays.first(2)).toEqual([undefined, 'ftjob-d']);
  await admin.query("select pg_notify('run_changed', 'ftjob-e')");
  await stays.first(3);
  expect(await Promise.race([leaves.first(2), Promise.resolve('nothing')])).toBe('nothing');
});
