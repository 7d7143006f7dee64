import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Type } from '@nestjs/common';
import { ApiModule } from '../../src/api.module.js';
import { AuthService } from '../../src/auth/auth.service.js';
import { ApiSettings, type ApiSettingsInput } from '../../src/config/service-settings.js';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import type { Scope } from '../../src/http/scopes.js';
import { startApi } from '../../src/start-api.js';
import { freshDatabase, redis } from './service-servers.js';

/** The API as `main.api` starts it, in this process, on a database, a queue prefix and a store of its own. */
export interface WholeApi {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  readonly storeDir: string;
  /** A connection of the test's own. */
  readonly database: Database;
  readonly auth: AuthService;
  /** The text of a new API key with these scopes. */
  key(...scopes: Scope[]): Promise<string>;
  close(): Promise<void>;
}

const MASTER_KEY = '5a'.repeat(32);

/** @param features those it serves, by default all */
export async function startWholeApi(change: Partial<ApiSettingsInput> = {}, features?: readonly Type[]): Promise<WholeApi> {
  const [postgres, queue] = [await freshDatabase(), await redis()];
  const storeDir = mkdtempSync(join(tmpdir(), 'limbeck-api-'));
  const settings = { databaseUrl: postgres.url, redisUrl: queue.url, redisPrefix: queue.prefix, storeDir, masterKey: MASTER_KEY, logLevel: 'silent' as const, port: 0, drainMs: 0 };
  const parsed = ApiSettings.parse({ ...settings, ...change });
  const api = await startApi(parsed, ApiModule.of(parsed, features));
  const database = new Database(await createDataSource({ url: postgres.url, poolSize: 2, statementMs: 30_000, connectMs: 5_000 }).initialize());
  const auth = AuthService.over(database, MASTER_KEY);
  return {
    url: api.url,
    storeDir,
    database,
    auth,
    key: async (...scopes) => (await database.transaction((tx) => auth.createKey(tx, { name: 'test', scopes }))).text,
    close: async () => {
      await api.close();
      await database.onApplicationShutdown();
      await Promise.all([postgres.close(), queue.close()]);
      rmSync(storeDir, { recursive: true, force: true });
    },
  };
}
