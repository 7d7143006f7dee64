import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { ApiModule } from '../../src/api.module.js';
import { AuthModule } from '../../src/auth/auth.module.js';
import { AuthService } from '../../src/auth/auth.service.js';
import { ApiSettings, type ApiSettingsInput } from '../../src/config/service-settings.js';
import { Database } from '../../src/database/database.js';
import { createApp } from '../../src/http/create-app.js';
import type { Scope } from '../../src/http/scopes.js';
import { PromptSetsModule } from '../../src/prompt-sets/prompt-sets.module.js';
import { RunsModule } from '../../src/runs/runs.module.js';
import { freshDatabase, redis } from './service-servers.js';

/** The API of jobs and prompt files over a database of its own; no worker runs. */
export interface JobsApi {
  /** `http://host:port`, without a path. */
  readonly url: string;
  /** Text of a key with these scopes. */
  key(...scopes: Scope[]): Promise<string>;
  readonly database: Database;
  readonly app: NestExpressApplication;
  readonly storeDir: string;
  close(): Promise<void>;
}

/** Starts it. @param given settings that differ from the tests' own */
export async function startJobsApi(given: Partial<ApiSettingsInput> = {}): Promise<JobsApi> {
  const [postgres, queues, storeDir] = await Promise.all([freshDatabase(), redis(), mkdtemp(join(tmpdir(), 'limbeck-test-'))]);
  const settings = ApiSettings.parse({
    databaseUrl: postgres.url,
    redisUrl: queues.url,
    redisPrefix: queues.prefix,
    storeDir,
    masterKey: 'a1'.repeat(32),
    logLevel: 'silent',
    drainMs: 0,
    port: 0,
    ...given,
  });
  const app = await createApp(ApiModule.of(settings, [AuthModule, PromptSetsModule, RunsModule]), settings);
  await app.listen(0, '127.0.0.1');
  const database = app.get(Database);
  return {
    url: await app.getUrl(),
    key: async (...scopes) => (await database.transaction((tx) => app.get(AuthService).createKey(tx, { name: 'test', scopes, expiresInSeconds: null }))).text,
    database,
    app,
    storeDir,
    close: async () => {
      await app.close();
      await postgres.close();
      await queues.close();
      await rm(storeDir, { recursive: true, force: true });
    },
  };
}

/** What a job names, as rows; returns the body that names them. */
export async function registerInputs(database: Database) {
  await database.query(
    `insert into teachers (id, name, dialect, base_url, model) values ('teacher-1', 'strong', 'vllm', 'http://127.0.0.1:1', 'strong-model') on conflict do nothing`,
  );
  await database.query(
    `insert into files (id, filename, purpose, bytes, sha256, prompts, place) values ('file-train', 'train.jsonl', 'fine-tune', 9, 'aa', 2, 'p1'), ('file-held', 'held.jsonl', 'fine-tune', 9, 'bb', 1, 'p2') on conflict do nothing`,
  );
  await database.query(
    `insert into models (name, source, architecture, parameters, bytes, files, place) values ('small', 'uploaded', 'llama', 1, 1, '[]', 'm1') on conflict do nothing`,
  );
  return {
    model: 'small',
    training_file: 'file-train',
    validation_file: 'file-held',
    method: { type: 'distillation', distillation: { teacher: 'teacher-1', align: { steps: 3 } } },
  };
}
