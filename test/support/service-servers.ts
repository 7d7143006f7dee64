import { randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { inject } from 'vitest';
import { MIGRATE_DEFAULTS, migrate } from '../../src/database/migrate.js';
import { until } from '../../src/embedded/processes.js';
import { redisCommand } from '../../src/embedded/redis-command.js';
import { startServers, type ServerAddresses } from './service-server-processes.js';

/** A migrated, empty database of its own. */
export interface TestDatabase {
  /** Connection string of its owner. */
  readonly url: string;
  /** Connection string with the rights of a worker. */
  readonly workerUrl: string;
  /** Removes it. @throws when connections to it were left open, saying what each did last. */
  close(): Promise<void>;
}

/** A Redis shared by the run, and a prefix that is the test's own. */
export interface TestRedis {
  readonly url: string;
  readonly prefix: string;
  /** Removes every key under the prefix. */
  close(): Promise<void>;
}

const TEMPLATE = 'limbeck_template';
const WORKER = 'limbeck_test_worker';
const LEAK_MS = 3_000; // a closed connection is gone from Postgres's list a moment later
const REDIS_MS = 5_000;

let servers: Promise<ServerAddresses> | undefined; // one start, however many tests of a file ask at once
let template: Promise<void> | undefined;

/** A Postgres and a Redis for this run of the tests, started when first asked for. Nothing outside the tests uses them. */
export function serviceServers(): Promise<ServerAddresses> {
  return (servers ??= startServers(inject('serviceServersDir')));
}

/** A copy of a database that was migrated once. Give it back with `close`. */
export async function freshDatabase(): Promise<TestDatabase> {
  const addresses = await serviceServers();
  await (template ??= makeTemplate(addresses));
  return copyOf(addresses, `template ${TEMPLATE}`);
}

/** As `freshDatabase`, without any table. */
export async function emptyDatabase(): Promise<TestDatabase> {
  return copyOf(await serviceServers(), '');
}

/** The run's Redis. */
export async function redis(): Promise<TestRedis> {
  const { redisPort: port, redisPassword: password } = await serviceServers();
  const prefix = `test-${randomBytes(4).toString('hex')}`;
  const remove = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('UNLINK', key) end return redis.status_reply('DONE')";
  const close = async (): Promise<void> => {
    const reply = await redisCommand({ port, password, timeoutMs: REDIS_MS }, 'EVAL', remove, '0', `${prefix}:*`);
    if (reply !== '+DONE') throw new Error(`the keys under ${prefix} could not be removed: ${reply}`);
  };
  return { url: `redis://:${password}@127.0.0.1:${port}`, prefix, close };
}

async function copyOf(addresses: ServerAddresses, source: string): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  await asAdmin(addresses, (admin) => admin.query(`create database ${name} ${source}`));
  return {
    url: urlOf(addresses, 'postgres', name),
    workerUrl: urlOf(addresses, WORKER, name),
    close: () => asAdmin(addresses, (admin) => remove(admin, name)),
  };
}

// A leak shows here, in the test that made it, and not as a full server many files later.
async function remove(admin: pg.Client, name: string): Promise<void> {
  let open: { application_name: string; query: string }[] = [];
  await until(async () => {
    open = (await admin.query<{ application_name: string; query: string }>('select application_name, query from pg_stat_activity where datname = $1', [name])).rows;
    return open.length === 0;
  }, LEAK_MS);
  await admin.query(`drop database ${name} with (force)`);
  if (open.length > 0) throw new Error(`${open.length} connections were left open: ${open.map((row) => `${row.application_name || 'unnamed'} after \`${row.query}\``).join('; ')}`);
}

async function makeTemplate(addresses: ServerAddresses): Promise<void> {
  const done = join(inject('serviceServersDir'), 'template');
  if (existsSync(done)) return;
  await asAdmin(addresses, (admin) => admin.query(`create database ${TEMPLATE}`));
  await migrate({ ...MIGRATE_DEFAULTS, url: urlOf(addresses, 'postgres', TEMPLATE) });
  await asAdmin(addresses, (admin) => admin.query(`create role ${WORKER} login password '${addresses.postgresPassword}' in role limbeck_worker`));
  writeFileSync(done, '');
}

async function asAdmin<Result>(addresses: ServerAddresses, work: (admin: pg.Client) => Promise<Result>): Promise<Result> {
  const admin = new pg.Client({ connectionString: urlOf(addresses, 'postgres', 'postgres') });
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.end();
  }
}

function urlOf({ postgresPort, postgresPassword }: ServerAddresses, role: string, database: string): string {
  return `postgres://${role}:${postgresPassword}@127.0.0.1:${postgresPort}/${database}`;
}
