import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AuthService } from '../../src/auth/auth.service.js';
import { serviceEnvironment } from '../../src/config/service-settings.js';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { compiled } from '../support/compiled.js';
import { getJson } from '../support/http-json.js';
import { useScratchDir } from '../support/scratch-dir.js';
import { freshDatabase, redis, type TestDatabase, type TestRedis } from '../support/service-servers.js';

const MASTER_KEY = '19'.repeat(32);
const PATIENT = { timeout: 60_000 };

interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly time: string;
  readonly service: string;
  readonly request_id?: string;
  readonly route?: string;
  readonly run_id?: string;
  readonly path?: string;
}

/** `main.api` as a process of its own. */
interface ApiProcess {
  readonly child: ChildProcess;
  readonly output: { stdout: string; stderr: string };
  readonly ended: Promise<number | null>;
}

const path = useScratchDir();
let postgres: TestDatabase;
let queue: TestRedis;
let running: ApiProcess | undefined;

beforeEach(async () => {
  postgres = await freshDatabase();
  queue = await redis();
});
afterEach(async () => {
  if (running?.child.exitCode === null) running.child.kill('SIGKILL');
  await running?.ended;
  running = undefined;
  await Promise.all([postgres.close(), queue.close()]);
});

async function start(change: Record<string, string> = {}): Promise<ApiProcess> {
  const settings = { databaseUrl: postgres.url, redisUrl: queue.url, redisPrefix: queue.prefix, storeDir: path(), masterKey: MASTER_KEY, port: 0, drainMs: 0 };
  const child = spawn(process.execPath, [await compiled('src/main.api.ts')], {
    env: { PATH: process.env.PATH, ...serviceEnvironment(settings), ...change },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  const output = { stdout: '', stderr: '' };
  child.stdout?.on('data', (text: Buffer) => (output.stdout += text.toString()));
  child.stderr?.on('data', (text: Buffer) => (output.stderr += text.toString()));
  running = { child, output, ended: endOf(child) };
  return running;
}

// Not 'close': it does not come when the channel was disconnected from this side.
async function endOf(child: ChildProcess): Promise<number | null> {
  const [[status]] = await Promise.all([once(child, 'exit'), child.stdout && once(child.stdout, 'end'), child.stderr && once(child.stderr, 'end')]);
  return status as number | null;
}

async function listening({ child, ended, output }: ApiProcess): Promise<{ url: string; port: number }> {
  const first = await Promise.race([once(child, 'message').then(([message]) => message as { url: string; port: number }), ended]);
  if (typeof first !== 'object' || first === null) throw new Error(`the API did not start: ${output.stderr}`);
  return first;
}

async function adminKey(): Promise<string> {
  const database = new Database(await createDataSource({ url: postgres.url, poolSize: 1, statementMs: 30_000, connectMs: 5_000 }).initialize());
  const { text } = await database.transaction((tx) => AuthService.over(database, MASTER_KEY).createKey(tx, { name: 'test', scopes: ['admin'] }));
  await database.onApplicationShutdown();
  return text;
}

const linesOf = (text: string): LogLine[] => text.trim().split('\n').map((line) => JSON.parse(line) as LogLine);

describe('the API process', () => {
  it('logs one JSON object a line, a request by its id and run, and never a key', async () => {
    const api = await start();
    const { url } = await listening(api);
    const key = await adminKey();
    const run = 'ftjob-0123456789abcdefghijklmn';
    await getJson(`${url}/v1/fine_tuning/jobs/${run}`, { authorization: `Bearer ${key}`, 'x-request-id': 'story-1' });
    await getJson(`${url}/nothing%0A%7B%22level%22%3A%22forged%22%7D?key=${key}`, { authorization: `Bearer ${key}` });
    api.child.kill('SIGTERM');
    expect(await api.ended).toBe(0);

    const lines = linesOf(api.output.stdout);
    for (const line of lines) expect(line).toMatchObject({ service: 'api', level: expect.stringMatching(/^(info|warn|error)$/), time: expect.stringMatching(/^\d{4}-.*Z$/) });
    expect(lines.find(({ request_id }) => request_id === 'story-1')).toMatchObject({ message: 'request', route: '/v1/fine_tuning/jobs/:id', run_id: run, status: 404, method: 'GET' });
    expect(lines.filter(({ message }) => message === 'request')).toHaveLength(2);
    expect(api.output.stdout + api.output.stderr).not.toContain(key);
    expect(api.output.stdout + api.output.stderr).not.toContain(MASTER_KEY);
  });

  it('leaves in order: not ready, no longer listening, running requests answered, all closed', async () => {
    const api = await start({ LIMBECK_DRAIN_MS: '5000' });
    const { url, port } = await listening(api);
    const key = await adminKey();
    const body = JSON.stringify({ name: 'slow', scopes: ['jobs:read'] });
    const slow = request({ port, method: 'POST', path: '/v1/api_keys', headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'content-length': body.length } });
    slow.write(body.slice(0, 5)); // a request that is under way when the process is told to leave
    await expect.poll(async () => (await getJson(`${url}/health/live`)).status, PATIENT).toBe(200);
    api.child.kill('SIGTERM');

    await expect.poll(async () => (await getJson<{ parts: { process: string } }>(`${url}/health/ready`)).json.parts.process, PATIENT).toBe('draining');
    expect((await getJson(`${url}/v1/api_keys`, { authorization: `Bearer ${key}` })).status).toBe(200);
    await expect.poll(() => getJson(`${url}/health/live`).then(() => 'answers', () => 'refuses'), PATIENT).toBe('refuses');
    const answered = once(slow, 'response');
    slow.end(body.slice(5));
    const [{ statusCode }] = (await answered) as [{ statusCode: number }];
    expect(statusCode).toBe(201);
    expect(await api.ended).toBe(0);
    expect(linesOf(api.output.stdout).map(({ message }) => message).filter((message) => /listen|answered/.test(message))).toEqual([
      expect.stringMatching(/^listens on /),
      expect.stringMatching(/^not ready; listening on for 5000 ms/),
      expect.stringMatching(/^no longer listening/),
      expect.stringMatching(/^every request is answered/),
    ]);
  });

  it('leaves when its parent is gone', async () => {
    const api = await start();
    await listening(api);
    api.child.disconnect();
    expect(await api.ended).toBe(0);
  });

  it.each([
    [{ LIMBECK_PORT: 'http', LIMBECK_SPEED: '9' }, /config\.settings_invalid: .*LIMBECK_PORT.*LIMBECK_SPEED is not a setting/s],
    [{ LIMBECK_HOST: '0.0.0.0' }, /http\.host_without_tls: 0\.0\.0\.0/],
    [{ LIMBECK_DATABASE_URL: 'postgres://nobody:secret-word@127.0.0.1:1/none' }, /database\.unavailable/],
  ])('refuses to start with %j', async (change, words) => {
    const api = await start(change as Record<string, string>);
    expect(await api.ended).toBe(1);
    expect(api.output.stderr).toMatch(words);
    expect(api.output.stdout + api.output.stderr).not.toContain('secret-word');
  });
});
