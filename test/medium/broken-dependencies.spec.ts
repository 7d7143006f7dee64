import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApiModule } from '../../src/api.module.js';
import { AuthModule } from '../../src/auth/auth.module.js';
import { AuthService } from '../../src/auth/auth.service.js';
import { ApiSettings } from '../../src/config/service-settings.js';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { startApi, type RunningApi } from '../../src/start-api.js';
import { getJson, postJson } from '../support/http-json.js';
import { emptyDatabase, freshDatabase, type TestDatabase } from '../support/service-servers.js';
import { tcpGate, type TcpGate } from '../support/tcp-gate.js';

const MASTER_KEY = '77'.repeat(32);
const NO_REDIS = 'redis://127.0.0.1:1';

interface Failure {
  readonly error: { readonly code: string; readonly type: string };
}

const settingsOn = (databaseUrl: string, change: object = {}): ApiSettings =>
  ApiSettings.parse({ databaseUrl, redisUrl: NO_REDIS, storeDir: '/nowhere', masterKey: MASTER_KEY, logLevel: 'silent', port: 0, drainMs: 0, redisCommandMs: 200, databaseConnectMs: 1_000, ...change });
const start = (settings: ApiSettings): Promise<RunningApi> => startApi(settings, ApiModule.of(settings, [AuthModule]));

describe('an API whose Redis is away and whose Postgres hangs or is down', () => {
  let postgres: TestDatabase;
  let gate: TcpGate;
  let api: RunningApi;
  let headers: Record<string, string>;

  beforeAll(async () => {
    postgres = await freshDatabase();
    const database = new Database(await createDataSource({ url: postgres.url, poolSize: 1, statementMs: 30_000, connectMs: 5_000 }).initialize());
    const { text } = await database.transaction((tx) => AuthService.over(database, MASTER_KEY).createKey(tx, { name: 'test', scopes: ['admin'] }));
    headers = { authorization: `Bearer ${text}` };
    await database.onApplicationShutdown();
    const url = new URL(postgres.url);
    gate = await tcpGate(Number(url.port));
    url.port = String(gate.port);
    api = await start(settingsOn(url.href));
  });
  afterAll(async () => {
    await api.close();
    await postgres.close();
  });

  it('is ready without Redis, and says so; the queues are missing from the metrics', async () => {
    expect(await getJson(`${api.url}/health/ready`)).toMatchObject({ status: 200, json: { ready: true, parts: { process: 'ok', database: 'ok', queues: 'degraded' } } });
    const { status, text } = await getJson(`${api.url}/metrics`, headers);
    expect(status).toBe(200);
    expect(text).not.toContain('limbeck_queue_waiting{');
  });

  it('answers its probes while Postgres hangs, is ready again when it does not, and asks only once at a time', async () => {
    gate.block();
    const probes = await Promise.all(Array.from({ length: 20 }, () => getJson(`${api.url}/health/ready`)));
    expect(probes.map(({ status }) => status)).toEqual(Array(20).fill(503));
    expect(probes[0].json).toMatchObject({ ready: false, parts: { database: 'no answer in time' } });
    expect((await getJson(`${api.url}/health/live`)).status).toBe(200);
    gate.unblock();
    await expect.poll(async () => (await getJson(`${api.url}/health/ready`)).status, { timeout: 20_000 }).toBe(200);
  });

  it('answers 503 with retry-after while Postgres is down', async () => {
    await gate.close();
    const { status, headers: answered, json } = await getJson<Failure>(`${api.url}/v1/api_keys`, headers);
    expect([status, json.error.code, json.error.type, answered.get('retry-after')]).toEqual([503, 'database.unavailable', 'service_unavailable', '5']);
    const created = await postJson<Failure>(`${api.url}/v1/api_keys`, { name: 'x', scopes: ['admin'] }, { headers: { ...headers, 'idempotency-key': 'k' } });
    expect(created.status).toBe(503);
    expect((await getJson(`${api.url}/health/ready`)).json).toMatchObject({ ready: false, parts: { database: 'database.unavailable' } });
  });
});

describe('an API that must not start', () => {
  it('says that the tables are missing, and what to run', async () => {
    const postgres = await emptyDatabase();
    await expect(start(settingsOn(postgres.url))).rejects.toMatchObject({ code: 'database.schema_mismatch', message: expect.stringContaining('npm run migrate') });
    await postgres.close();
  });

  it('knows tables of a newer release', async () => {
    const postgres = await freshDatabase();
    const database = new Database(await createDataSource({ url: postgres.url, poolSize: 1, statementMs: 30_000, connectMs: 5_000 }).initialize());
    await database.query(`insert into migrations (timestamp, name) values (2000000000000, 'Tomorrow2000000000000')`);
    await database.onApplicationShutdown();
    await expect(start(settingsOn(postgres.url))).rejects.toMatchObject({ code: 'database.schema_mismatch', message: expect.stringContaining('Tomorrow2000000000000') });
    await postgres.close();
  });

  it('does not listen to the network in plain sight', async () => {
    const postgres = await freshDatabase();
    await expect(start(settingsOn(postgres.url, { host: '0.0.0.0' }))).rejects.toMatchObject({ code: 'http.host_without_tls' });
    const api = await start(settingsOn(postgres.url, { host: '0.0.0.0', behindTls: 'true' }));
    await api.close();
    await postgres.close();
  });
});
