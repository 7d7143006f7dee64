import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres, type PostgresOptions } from '../../src/embedded/postgres.js';
import { runningPostmaster } from '../../src/embedded/postgres.js';
import { commandLine, endProcess } from '../../src/embedded/processes.js';
import { runningRedis, startRedis, type RedisOptions } from '../../src/embedded/redis.js';

/** Every run of the tests has a directory of its own here, named by its process id. */
export const SERVERS_ROOT = join(tmpdir(), `limbeck-test-servers-${process.getuid!()}`);

/** Where a run's servers listen. */
export interface ServerAddresses {
  readonly postgresPort: number;
  readonly postgresPassword: string;
  readonly postgresDataDir: string;
  readonly redisPort: number;
  readonly redisPassword: string;
}

const PASSWORD = 'for-tests-only';
const limits = { startMs: 60_000, stopMs: 10_000 };

/** Starts the run's servers, unless an earlier file of the run did. Files of tests run one at a time. */
export async function startServers(dir: string): Promise<ServerAddresses> {
  const file = join(dir, 'servers.json');
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as ServerAddresses;
  const [postgres, redis] = await Promise.all([startPostgres(postgresOptions(dir)), startRedis(redisOptions(dir))]);
  const addresses: ServerAddresses = {
    postgresPort: postgres.port,
    postgresPassword: PASSWORD,
    postgresDataDir: postgres.dataDir,
    redisPort: redis.port,
    redisPassword: PASSWORD,
  };
  writeFileSync(`${file}.aside`, JSON.stringify(addresses));
  renameSync(`${file}.aside`, file);
  return addresses;
}

/** Kills what runs in the directory and removes it: nothing in it is worth an orderly end. */
export async function stopServers(dir: string): Promise<void> {
  const dataDir = join(dir, 'postgres', 'data');
  const postgres = runningPostmaster(dataDir);
  if (postgres !== undefined) await quit(postgres, () => runningPostmaster(dataDir) === postgres);
  const redis = runningRedis(join(dir, 'redis'));
  if (redis !== undefined) await endProcess(redis, () => runningRedis(join(dir, 'redis')) === redis, limits.stopMs);
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
}

/** Ends servers whose run was killed. */
export async function stopLeftovers(): Promise<void> {
  mkdirSync(SERVERS_ROOT, { recursive: true, mode: 0o711 });
  const strays = readdirSync(SERVERS_ROOT).filter((name) => !(commandLine(Number(name))?.includes('node') ?? false));
  await Promise.all(strays.map((name) => stopServers(join(SERVERS_ROOT, name))));
}

async function quit(pid: number, runs: () => boolean): Promise<void> {
  process.kill(pid, 'SIGINT'); // Postgres's fast shutdown: it ends sessions instead of waiting for them
  await endProcess(pid, runs, limits.stopMs);
}

function postgresOptions(dir: string): PostgresOptions {
  return { dir: join(dir, 'postgres'), password: PASSWORD, durable: false, maxConnections: 200, ...limits, onNotice: () => undefined };
}

function redisOptions(dir: string): RedisOptions {
  return { dir: join(dir, 'redis'), password: PASSWORD, durable: false, ...limits };
}
