import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { until } from '../../src/embedded/processes.js';
import { compiled } from '../support/compiled.js';
import { useReachableDir } from '../support/reachable-dir.js';

interface Up {
  readonly child: ChildProcess;
  readonly url: string;
  /** Resolves with its exit status (or the signal) and everything it said. */
  readonly ended: Promise<{ readonly status: number | NodeJS.Signals | null; readonly said: string }>;
}

const LIMIT_MS = 90_000;
const scratch = useReachableDir();
const started: ChildProcess[] = [];
let entry = '';

beforeAll(async () => {
  entry = await compiled('src/main.cli.ts');
});

afterEach(async () => {
  for (const child of started.splice(0)) if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid!, 'SIGTERM');
  await until(() => processesOf(scratch()).length === 0, LIMIT_MS);
});

/** `limbeck up` as a shell would start it: a process group of its own. Returns when it tells its address. */
async function up(dir: string, port = 0): Promise<Up> {
  const child = spawn(process.execPath, [entry, 'up', '--data', dir, '--port', String(port)], { env: { PATH: process.env['PATH'], LIMBECK_ENGINE: 'reference' }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  started.push(child);
  let said = '';
  const ended = new Promise<{ status: number | NodeJS.Signals | null; said: string }>((resolve) => child.once('close', (code, signal) => resolve({ status: signal ?? code, said })));
  const url = await new Promise<string>((resolve, reject) => {
    const listen = (chunk: Buffer): void => {
      said += chunk.toString('utf8');
      const address = /^API +(\S+)$/m.exec(said);
      if (address && said.includes('logs ')) resolve(address[1]);
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    void ended.then(({ status }) => reject(new Error(`limbeck up ended with ${status}: ${said}`)));
  });
  return { child, url, ended };
}

/** Every process that works on a data directory: by its command line, its working directory or its settings. */
function processesOf(dir: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && ['cmdline', 'environ'].map((file) => procFile(name, file)).concat(procFile(name, 'cwd')).some((text) => text.includes(dir)))
    .map(Number);
}

function procFile(pid: string, file: string): string {
  try {
    return file === 'cwd' ? readlinkSync(join('/proc', pid, file)) : readFileSync(join('/proc', pid, file), 'utf8');
  } catch {
    return ''; // it ended meanwhile
  }
}

function pidOf(dir: string, server: 'postgres/data/postmaster.pid' | 'redis/redis.pid'): number {
  return Number(readFileSync(join(dir, server), 'utf8').split('\n')[0]);
}

const isReady = async (url: string): Promise<boolean> => (await fetch(`${url}/health/ready`).catch(() => undefined))?.status === 200;
const adminAnswer = async (dir: string, url: string): Promise<number> =>
  (await fetch(`${url}/v1/teachers`, { headers: { authorization: `Bearer ${readFileSync(join(dir, 'admin.key'), 'utf8').trim()}` } })).status;

it('serves, keeps its secrets to itself, lets no second one in, and ends everything at Ctrl-C', async () => {
  const dir = scratch('data');
  const first = await up(dir);
  expect(await isReady(first.url)).toBe(true);
  expect(await adminAnswer(dir, first.url)).toBe(200);
  expect((await fetch(`${first.url}/v1/teachers`)).status).toBe(401);
  for (const file of ['secrets.json', 'admin.key', 'service.json', 'redis/redis.conf']) expect(statSync(join(dir, file)).mode & 0o777).toBe(0o600);

  const second = await up(dir).catch((error: Error) => error.message);
  expect(second).toContain('embedded.data_directory_in_use');
  expect(await isReady(first.url)).toBe(true);

  process.kill(-first.child.pid!, 'SIGINT'); // a terminal sends it to the whole group
  const { status, said } = await first.ended;
  expect(status).toBe(0);
  expect(said).not.toMatch(/is started again/);
  expect(processesOf(dir)).toEqual([]);
});

it('starts again after it was killed, with the same data and no second Postgres', async () => {
  const dir = scratch('data');
  const killed = await up(dir);
  const key = readFileSync(join(dir, 'admin.key'), 'utf8');
  const postgres = pidOf(dir, 'postgres/data/postmaster.pid');
  killed.child.kill('SIGKILL');
  await killed.ended;

  const next = await up(dir);
  expect(readFileSync(join(dir, 'admin.key'), 'utf8')).toBe(key);
  expect(await adminAnswer(dir, next.url)).toBe(200);
  expect(processesOf(dir)).not.toContain(postgres);
  const postmasters = processesOf(dir).filter((pid) => procFile(String(pid), 'cmdline').includes(`-D\0${dir}`));
  expect(postmasters).toEqual([pidOf(dir, 'postgres/data/postmaster.pid')]);

  next.child.kill('SIGTERM');
  expect((await next.ended).status).toBe(0);
  expect(processesOf(dir)).toEqual([]);
});

it('starts a killed API, Redis or Postgres again at the address the others know', async () => {
  const dir = scratch('data');
  const service = await up(dir);
  const api = processesOf(dir).find((pid) => procFile(String(pid), 'cmdline').includes('main.api.js'))!;
  const victims = [api, pidOf(dir, 'redis/redis.pid'), pidOf(dir, 'postgres/data/postmaster.pid')];
  for (const pid of victims) process.kill(pid, 'SIGKILL');
  await until(() => victims.every((pid) => !processesOf(dir).includes(pid)), LIMIT_MS);

  expect(await until(async () => (await isReady(service.url)) && (await adminAnswer(dir, service.url)) === 200, LIMIT_MS)).toBe(true);
  service.child.kill('SIGTERM');
  const { status, said } = await service.ended;
  expect(status).toBe(0);
  expect(said).toContain('the API was killed by SIGKILL; it is started again');
  expect(said).toContain('Redis has ended; it is started again');
  expect(said).toContain('Postgres has ended; it is started again');
  expect(processesOf(dir)).toEqual([]);
});

it('does not take another program at its port for its API, and leaves nothing behind', async () => {
  const other = createServer((_request, response) => response.end('ready'));
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const dir = scratch('data');
  const failure = await up(dir, (other.address() as AddressInfo).port).catch((error: Error) => error.message);
  expect(failure).toMatch(/ended with 5: [^]*error embedded\.server_failed: the API ended with status 1[^]*EADDRINUSE/);
  expect(processesOf(dir)).toEqual([]);
  await new Promise((resolve) => other.close(resolve));
});
