import { join } from 'node:path';
import type { SupervisorSettings } from '../config/up-settings.js';
import { MIGRATE_DEFAULTS, migrate } from '../database/migrate.js';
import { runningPostmaster, startPostgres } from './postgres.js';
import { runningRedis, startRedis } from './redis.js';
import { ensureDatabase, type DatabaseUrls } from './roles.js';
import type { Secrets } from './secrets.js';

/** What both servers need to start. */
export interface ServerGround {
  readonly dataDir: string;
  readonly secrets: Secrets;
  readonly settings: SupervisorSettings;
  readonly onNotice: (line: string) => void;
}

/** One server that Limbeck brings along, kept alive where clients know it. */
export interface KeptServer {
  /** For people: `Postgres`. */
  readonly name: string;
  readonly port: number;
  alive(): boolean;
  /** Starts it again at its port. */
  revive(): Promise<void>;
  stop(): Promise<void>;
}

/** The embedded Postgres with its database, roles and tables. */
export async function keptPostgres({ dataDir, secrets, settings, onNotice }: ServerGround): Promise<KeptServer & { readonly urls: DatabaseUrls }> {
  const { startMs, stopMs, postgresConnections: maxConnections } = settings;
  const options = { dir: join(dataDir, 'postgres'), password: secrets.postgresPassword, durable: true, maxConnections, startMs, stopMs, onNotice };
  let server = await startPostgres(options);
  const { port } = server;
  const revive = async (): Promise<void> => void (server = await startPostgres({ ...options, port }));
  try {
    const urls = await ensureDatabase(server.url('postgres'), secrets);
    return { name: 'Postgres', port, urls, alive: () => runningPostmaster(server.dataDir) !== undefined, revive, stop: () => server.stop() };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** The embedded Redis. */
export async function keptRedis({ dataDir, secrets, settings }: ServerGround): Promise<KeptServer & { readonly url: string }> {
  const { startMs, stopMs } = settings;
  const options = { dir: join(dataDir, 'redis'), password: secrets.redisPassword, durable: true, startMs, stopMs };
  let server = await startRedis(options);
  const { port, url } = server;
  const revive = async (): Promise<void> => void (server = await startRedis({ ...options, port }));
  return { name: 'Redis', port, url, alive: () => runningRedis(options.dir) !== undefined, revive, stop: () => server.stop() };
}

/** Looks now and then whether the servers run, and starts again those that do not. @returns a function that ends it, once a revival in progress is done. */
export function watchOver(servers: readonly KeptServer[], { everyMs, onNotice }: { everyMs: number; onNotice: (line: string) => void }): () => Promise<void> {
  let reviving = Promise.resolve();
  let busy = false;
  const look = async (): Promise<void> => {
    for (const server of servers.filter((one) => !one.alive())) {
      onNotice(`${server.name} has ended; it is started again`);
      await server.revive().catch((error: unknown) => onNotice(error instanceof Error ? error.message : String(error)));
    }
    busy = false;
  };
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    reviving = look();
  }, everyMs);
  return async () => {
    clearInterval(timer);
    await reviving;
  };
}

/** Brings the tables up to date. */
export async function updateTables(url: string, onNotice: (line: string) => void): Promise<void> {
  const applied = await migrate({ ...MIGRATE_DEFAULTS, url });
  if (applied.length > 0) onNotice(`the database got ${applied.length} migrations`);
}
