import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { AuthService } from '../../src/auth/auth.service.js';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { ApiReplica } from './api-replica.js';
import type { Failover } from './failover.js';
import { registerInputs } from './job-inputs.js';
import { freshDatabase, redis } from './service-servers.js';

const MASTER_KEY = '6b'.repeat(32);

/** Two replicas of the API on one database, queue and store, and what a client needs to use both. */
export class TwoReplicas {
  private constructor(
    readonly first: ApiReplica,
    readonly second: ApiReplica,
    readonly database: Database,
    readonly apiKey: string,
    /** Names what is registered, for a job to be submitted. */
    readonly body: object,
    readonly databaseUrl: string,
    private readonly end: () => Promise<void>,
  ) {}

  static async start(): Promise<TwoReplicas> {
    const [postgres, queue] = [await freshDatabase(), await redis()];
    const storeDir = mkdtempSync(join(tmpdir(), 'limbeck-replicas-'));
    const settings = { databaseUrl: postgres.url, redisUrl: queue.url, redisPrefix: queue.prefix, storeDir, masterKey: MASTER_KEY, logLevel: 'silent' as const, drainMs: 0 };
    const [first, second] = await Promise.all([ApiReplica.start(settings), ApiReplica.start(settings)]);
    const database = new Database(await createDataSource({ url: postgres.url, poolSize: 3, statementMs: 30_000, connectMs: 5_000 }).initialize());
    const { text } = await database.transaction((tx) => AuthService.over(database, MASTER_KEY).createKey(tx, { name: 'test', scopes: ['admin'] }));
    const end = async (): Promise<void> => {
      await Promise.all([first.kill(), second.kill()]);
      await database.onApplicationShutdown();
      await Promise.all([postgres.close(), queue.close()]);
      rmSync(storeDir, { recursive: true, force: true });
    };
    return new TwoReplicas(first, second, database, text, await registerInputs(database), postgres.url, end);
  }

  /** The stock client, with the second replica as its second base URL. */
  client(way: Failover): OpenAI {
    return new OpenAI({ baseURL: `${this.first.url}/v1`, apiKey: this.apiKey, maxRetries: 8, fetch: way.fetch });
  }

  close(): Promise<void> {
    return this.end();
  }
}
