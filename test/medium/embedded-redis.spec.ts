import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { commandLine } from '../../src/embedded/processes.js';
import { redisCommand } from '../../src/embedded/redis-command.js';
import { startRedis, type RedisOptions, type RunningRedis } from '../../src/embedded/redis.js';
import { useScratchDir } from '../support/scratch-dir.js';

const scratch = useScratchDir();
const PASSWORD = 'right-7f3a';
const running: RunningRedis[] = [];

afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});

async function start(changes: Partial<RedisOptions> = {}): Promise<RunningRedis> {
  const server = await startRedis({ dir: scratch('redis'), password: PASSWORD, durable: true, startMs: 30_000, stopMs: 10_000, ...changes });
  running.push(server);
  return server;
}

const ask = (server: RunningRedis, ...words: string[]): Promise<string> => redisCommand({ port: server.port, password: PASSWORD, timeoutMs: 5_000 }, ...words);

it('asks for its password, which no command line shows, and keeps its data over a stop', async () => {
  const first = await start();
  expect(first.url).toBe(`redis://:${PASSWORD}@127.0.0.1:${first.port}`);
  expect(commandLine(first.pid)).not.toContain(PASSWORD);
  expect(statSync(join(scratch('redis'), 'redis.conf')).mode & 0o777).toBe(0o600);
  expect(await redisCommand({ port: first.port, password: 'wrong', timeoutMs: 5_000 }, 'PING')).toMatch(/^-WRONGPASS/);
  expect(await ask(first, 'SET', 'kept', '7')).toBe('+OK');
  expect(await ask(first, 'CONFIG', 'GET', 'maxmemory-policy')).toBe('*2');
  expect(readFileSync(join(scratch('redis'), 'redis.conf'), 'utf8')).toContain('maxmemory-policy noeviction');
  await first.stop();
  expect(commandLine(first.pid)).toBeUndefined();
  const second = await start();
  expect(await ask(second, 'INCR', 'kept')).toBe(':8');
});

it('stops one that a killed process left behind, and takes the data over', async () => {
  const left = await start();
  await ask(left, 'SET', 'kept', '1');
  const next = await start();
  expect(commandLine(left.pid)).toBeUndefined();
  expect(await ask(next, 'INCR', 'kept')).toBe(':2');
});

it('comes up at the port that clients know after it was killed', async () => {
  const killed = await start();
  await ask(killed, 'SET', 'kept', '1');
  process.kill(killed.pid, 'SIGKILL');
  const next = await start({ port: killed.port });
  expect(next.port).toBe(killed.port);
  expect(await ask(next, 'PING')).toBe('+PONG');
});
