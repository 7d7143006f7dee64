import pg from 'pg';
import { expect, it } from 'vitest';
import { redisCommand } from '../../src/embedded/redis-command.js';
import { freshDatabase, redis } from './service-servers.js';

it('gives each test a database of its own', async () => {
  const [one, other] = await Promise.all([freshDatabase(), freshDatabase()]);
  const rows = [one, other].map(async ({ url }, index) => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query("insert into files (id, filename, purpose, bytes, sha256, prompts, place) values ($1, 'a', 'fine-tune', 1, '', 1, 'a')", [`file-${index}`]);
    const { rows: found } = await client.query<{ id: string }>('select id from files');
    await client.end();
    return found.map(({ id }) => id);
  });
  expect(await Promise.all(rows)).toEqual([['file-0'], ['file-1']]);
  await Promise.all([one.close(), other.close()]);
});

it('tells of a connection that was left open', async () => {
  const database = await freshDatabase();
  const client = new pg.Client({ connectionString: database.url });
  client.on('error', () => undefined); // it is ended by force
  await client.connect();
  await client.query('select 1 as left_open');
  await expect(database.close()).rejects.toThrow('1 connections were left open: unnamed after `select 1 as left_open`');
});

it('removes the keys of its own prefix alone', async () => {
  const [one, other] = await Promise.all([redis(), redis()]);
  const { port, password } = new URL(one.url);
  const ask = (...words: string[]): Promise<string> => redisCommand({ port: Number(port), password, timeoutMs: 5_000 }, ...words);
  for (const { prefix } of [one, other]) expect(await ask('SET', `${prefix}:a`, '1')).toBe('+OK');
  await one.close();
  expect(await ask('EXISTS', `${one.prefix}:a`)).toBe(':0');
  expect(await ask('EXISTS', `${other.prefix}:a`)).toBe(':1');
  await other.close();
});
