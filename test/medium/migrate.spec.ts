import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { migrations } from '../../migrations/index.js';
import { MIGRATE_DEFAULTS, migrate } from '../../src/database/migrate.js';
import { emptyDatabase, freshDatabase, redis } from '../support/service-servers.js';
import { redisCommand } from '../../src/embedded/redis-command.js';

const names = migrations.map((migration) => new migration().name);

describe('migrate', () => {
  it('applies each migration once, however many ask at the same time, and nothing the second time', async () => {
    const database = await emptyDatabase();
    const settings = { ...MIGRATE_DEFAULTS, url: database.url };
    const applied = await Promise.all(Array.from({ length: 5 }, () => migrate(settings)));
    expect(applied.filter((list) => list.length > 0)).toEqual([names]);
    expect(await migrate(settings)).toEqual([]);
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const { rows } = await client.query<{ name: string }>('select name from migrations order by id');
    await client.end();
    expect(rows.map((row) => row.name)).toEqual(names);
    await database.close();
  });
});

describe('the databases of the tests', () => {
  it('are told apart, and a connection left open is told', async () => {
    const [one, other] = await Promise.all([freshDatabase(), freshDatabase()]);
    const client = new pg.Client({ connectionString: one.url });
    client.on('error', () => undefined); // its end by force
    await client.connect();
    await client.query("insert into files (id, filename, purpose, bytes, sha256, prompts, place) values ('file-1', 'a', 'fine-tune', 1, '', 1, 'a')");
    await expect(one.close()).rejects.toThrow(/^1 connections were left open: unnamed after `insert into files/);
    const second = new pg.Client({ connectionString: other.workerUrl });
    await second.connect();
    expect((await second.query('select * from files')).rows).toEqual([]);
    await expect(second.query('select * from api_keys')).rejects.toThrow('permission denied for table api_keys');
    await second.end();
    await other.close();
  });

  it('redis', async () => {
    const it = await redis();
    const port = Number(new URL(it.url).port);
    const password = new URL(it.url).password;
    expect(await redisCommand({ port, password, timeoutMs: 1000 }, 'SET', `${it.prefix}:a`, '1')).toBe('+OK');
    await it.close();
    expect(await redisCommand({ port, password, timeoutMs: 1000 }, 'EXISTS', `${it.prefix}:a`)).toBe(':0');
  });
});
