import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readlinkSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EmbeddedServerFailed, RedisMissing } from './embedded.errors.js';
import { freePort } from './free-port.js';
import { commandLine, endProcess, until } from './processes.js';
import { redisCommand } from './redis-command.js';

/** How the Redis that Limbeck starts runs. */
export interface RedisOptions {
  /** Directory of its own; made when missing. */
  readonly dir: string;
  readonly password: string;
  /** Left out, a free one. Given where clients know it already. */
  readonly port?: number;
  /** False only where the queues may be lost with the process: tests. */
  readonly durable: boolean;
  readonly startMs: number;
  readonly stopMs: number;
}

/** A Redis that listens on 127.0.0.1. It outlives this process unless it is stopped. */
export interface RunningRedis {
  readonly port: number;
  readonly pid: number;
  readonly url: string;
  stop(): Promise<void>;
}

const PORT_TRIES = 5;
const ASK_MS = 1_000;

/** Starts `redis-server` from the PATH, stopping one that a killed process left behind first. @throws RedisMissing, EmbeddedServerFailed with Redis's own words. */
export async function startRedis(options: RedisOptions): Promise<RunningRedis> {
  const { dir, password } = options;
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  await stopRedis(options);
  for (let tried = 0; tried < PORT_TRIES; tried++) {
    const port = options.port ?? (await freePort());
    const pid = await launch(port, options);
    if (await answers(port, pid, options)) return { port, pid, url: `redis://:${password}@127.0.0.1:${port}`, stop: () => stopRedis(options) };
    await stopRedis(options);
  }
  throw new EmbeddedServerFailed(`redis-server did not start in ${dir}: ${lastWords(join(dir, 'redis.log'))}`);
}

// The password stands in a file that only its owner reads: every user of the machine can see a command line.
function configuration(port: number, { dir, password, durable }: RedisOptions): string {
  const lines = ['bind 127.0.0.1', `port ${port}`, `requirepass ${password}`, `dir "${dir}"`, 'logfile redis.log', 'pidfile redis.pid', 'daemonize no', 'save ""'];
  return [...lines, `appendonly ${durable ? 'yes' : 'no'}`, 'maxmemory-policy noeviction', ''].join('\n');
}

async function launch(port: number, options: RedisOptions): Promise<number> {
  const { dir } = options;
  const config = join(dir, 'redis.conf');
  writeFileSync(config, configuration(port, options), { mode: 0o600 });
  const log = openSync(join(dir, 'redis.log'), 'a', 0o600); // what it says before it reads its configuration
  const child = spawn('redis-server', [config], { cwd: dir, detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) => reject('code' in error && error.code === 'ENOENT' ? new RedisMissing() : new EmbeddedServerFailed(`redis-server could not be started: ${error.message}`)));
  });
  child.unref();
  writeFileSync(join(dir, 'redis.pid'), `${child.pid}\n`); // at once, so that a death in between leaves no stray
  return child.pid!;
}

/** Waits until it serves; false when it ended instead (its port may have been taken). */
async function answers(port: number, pid: number, { dir, password, startMs }: RedisOptions): Promise<boolean> {
  let ended = false;
  const serves = await until(async () => {
    ended = runningRedis(dir) !== pid;
    if (ended) return true;
    return (await redisCommand({ port, password, timeoutMs: ASK_MS }, 'PING').catch(() => '')) === '+PONG';
  }, startMs);
  return serves && !ended;
}

async function stopRedis({ dir, stopMs }: RedisOptions): Promise<void> {
  const pid = runningRedis(dir);
  if (pid !== undefined) await endProcess(pid, () => isRedisIn(dir, pid), stopMs); // it removes its file some time before it is gone
  rmSync(join(dir, 'redis.pid'), { force: true });
}

/** Process id of the Redis that serves this directory; undefined when none does. */
export function runningRedis(dir: string): number | undefined {
  const file = join(dir, 'redis.pid');
  if (!existsSync(file)) return undefined;
  const pid = Number(readFileSync(file, 'utf8'));
  return isRedisIn(dir, pid) ? pid : undefined;
}

function isRedisIn(dir: string, pid: number): boolean {
  try {
    return commandLine(pid)?.includes('redis-server') === true && readlinkSync(`/proc/${pid}/cwd`) === realpathSync(dir);
  } catch {
    return false; // ended meanwhile, or another user's
  }
}

function lastWords(log: string): string {
  return existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n').slice(-5).join('\n') : '';
}
