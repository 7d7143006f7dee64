import { fork } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { AppError } from '../../../common/errors.js';
import { AuthService } from '../../../auth/auth.service.js';
import { serviceEnvironment, type ApiSettingsInput } from '../../../config/service-settings.js';
import { createDataSource } from '../../../database/data-source.js';
import { Database } from '../../../database/database.js';
import { MIGRATE_DEFAULTS, migrate } from '../../../database/migrate.js';
import { startPostgres } from '../../../embedded/postgres.js';
import { startRedis } from '../../../embedded/redis.js';

/** Connections of the service's pool, and of everything it is compared with. */
export const CONNECTIONS = 8;

const MASTER_KEY = '5a'.repeat(32);
const PASSWORD = 'bench';
const LIMITS = { startMs: 60_000, stopMs: 30_000 };

/** A Postgres and a Redis of the bench's own, as durable as the service's. */
export interface BenchServers {
  readonly dir: string;
  readonly redisUrl: string;
  /** Makes a database with the service's tables. @returns its connection string. */
  newDatabase(name: string): Promise<string>;
  /** Ends both and removes what they held. */
  stop(): Promise<void>;
}

/** @throws EmbeddedServerFailed, RedisMissing */
export async function startBenchServers(onNotice: (line: string) => void): Promise<BenchServers> {
  const dir = mkdtempSync(join(tmpdir(), 'limbeck-bench-'));
  chmodSync(dir, 0o711); // Postgres runs as another user where this is root
  const postgres = await startPostgres({ dir: join(dir, 'postgres'), password: PASSWORD, durable: true, maxConnections: 60, ...LIMITS, onNotice });
  const redis = await startRedis({ dir: join(dir, 'redis'), password: PASSWORD, durable: true, ...LIMITS });
  return {
    dir,
    redisUrl: redis.url,
    newDatabase: async (name) => {
      const admin = new pg.Client({ connectionString: postgres.url('postgres') });
      await admin.connect();
      await admin.query(`create database ${name}`).finally(() => admin.end());
      await migrate({ ...MIGRATE_DEFAULTS, url: postgres.url(name) });
      return postgres.url(name);
    },
    stop: async () => {
      await redis.stop();
      await postgres.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** The database as the service's processes open it. */
export async function openDatabase(url: string): Promise<Database> {
  return new Database(await createDataSource({ url, poolSize: CONNECTIONS, statementMs: 120_000, connectMs: 10_000 }).initialize());
}

/** An API process, and a key to it. */
export interface BenchApi {
  readonly url: string;
  readonly key: string;
  stop(): Promise<void>;
}

/** The API's process ended before it listened. */
class ApiNotStarted extends AppError {
  readonly code = 'cli.api_not_started';
  readonly kind = 'unavailable';
}

/** Starts the API as the service does, on a database. It ends with this process. @throws ApiNotStarted, having shown its own words on standard error. */
export async function startBenchApi({ dir, redisUrl }: BenchServers, { databaseUrl, redisPrefix }: { readonly databaseUrl: string; readonly redisPrefix: string }): Promise<BenchApi> {
  const settings: ApiSettingsInput = {
    databaseUrl, databasePoolSize: CONNECTIONS, redisUrl, redisPrefix, storeDir: join(dir, 'store'), masterKey: MASTER_KEY, port: 0, drainMs: 0,
  };
  const database = await openDatabase(databaseUrl);
  const { text: key } = await database.transaction((tx) => AuthService.over(database, MASTER_KEY).createKey(tx, { name: 'bench', scopes: ['admin'] })).finally(() => database.onApplicationShutdown());
  const entry = fileURLToPath(new URL('../../../main.api.js', import.meta.url));
  const child = fork(entry, { env: { ...serviceEnvironment(settings) }, stdio: ['ignore', 'ignore', 'inherit', 'ipc'], detached: true });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    child.once('message', (message: { readonly url: string }) => resolve(message.url));
    child.once('error', reject);
    child.once('exit', (code) => reject(new ApiNotStarted(`the API ended with status ${code} before it listened; its own words are above`)));
  });
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await ended;
  };
  return { url, key, stop };
}
