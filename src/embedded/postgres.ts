import { randomBytes } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { EmbeddedServerFailed } from './embedded.errors.js';
import { freePort } from './free-port.js';
import { REACHABLE_ROOT, postgresBinaries, type PostgresBinaries } from './postgres-binaries.js';
import { commandLine, processesIn, until } from './processes.js';
import { runProgram, type ServerUser } from './run-program.js';
import { canReach, giveTo, serverUser } from './server-user.js';

/** How the Postgres that Limbeck brings along runs. */
export interface PostgresOptions {
  /** Directory of its own; made when missing. It must not be shared with anything else. */
  readonly dir: string;
  /** Password of the superuser `postgres`; fixed when the cluster is made. */
  readonly password: string;
  /** Left out, a free one. Given where clients know it already. */
  readonly port?: number;
  /** False only where the data may be lost with the machine: tests. */
  readonly durable: boolean;
  /** Most connections of all processes together. */
  readonly maxConnections: number;
  /** How long making the cluster, starting and stopping may take each. */
  readonly startMs: number;
  readonly stopMs: number;
  readonly onNotice: (message: string) => void;
}

/** A Postgres that listens on 127.0.0.1. It outlives this process unless it is stopped. */
export interface RunningPostgres {
  readonly port: number;
  readonly pid: number;
  /** Where the data really lie: `dir`, or a place its user can reach. */
  readonly dataDir: string;
  /** Connection string of the superuser. */
  url(database: string): string;
  stop(): Promise<void>;
}

interface Cluster {
  readonly binaries: PostgresBinaries;
  readonly user: ServerUser | undefined;
  readonly place: string;
  readonly dataDir: string;
}

const PORT_TRIES = 5;
const PLACE_BYTES = 6;

/** Starts it, making the cluster first when there is none, and stopping one that a killed process left behind. @throws EmbeddedServerFailed with Postgres's own words. */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const user = serverUser();
  const place = await reachableDirectory(options, user);
  const cluster: Cluster = { user, place, dataDir: join(place, 'data'), binaries: await postgresBinaries(user, options.onNotice) };
  if (!existsSync(join(cluster.dataDir, 'PG_VERSION'))) await makeCluster(cluster, options);
  await stopPostmaster(cluster, options);
  const { port, pid } = await startPostmaster(cluster, options);
  return {
    port,
    pid,
    dataDir: cluster.dataDir,
    url: (database) => `postgres://postgres:${options.password}@127.0.0.1:${port}/${database}`,
    stop: () => stopPostmaster(cluster, options),
  };
}

/** The directory itself when the server's user can write to it, else one under `/var/lib/limbeck`, which a link in the directory names. */
async function reachableDirectory({ dir, onNotice }: PostgresOptions, user: ServerUser | undefined): Promise<string> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  giveTo(user, dir);
  if (await canReach(user, '-w', dir)) return dir;
  const link = join(dir, 'data');
  if (isLink(link)) return dirname(readlinkSync(link));
  // Not named after the directory: when that is removed, and its passwords with it, the next one of its name must not meet the old cluster.
  const place = join(REACHABLE_ROOT, randomBytes(PLACE_BYTES).toString('hex'), 'data');
  onNotice(`${dir} is closed to the user that Postgres runs as; the database lies in ${place}`);
  mkdirSync(dirname(place), { recursive: true, mode: 0o755 });
  mkdirSync(place, { mode: 0o700 });
  giveTo(user, place);
  symlinkSync(join(place, 'data'), link);
  return place;
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}

async function makeCluster({ binaries, user, place, dataDir }: Cluster, { password, durable, startMs }: PostgresOptions): Promise<void> {
  rmSync(dataDir, { recursive: true, force: true }); // what an initdb that was killed left
  const passwordFile = join(place, 'password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  giveTo(user, place);
  const args = ['-D', dataDir, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${passwordFile}`, '-E', 'UTF8', '--locale=C.UTF-8', ...(durable ? [] : ['--no-sync'])];
  const { status, output } = await runProgram({ path: binaries.initdb, args, user, timeoutMs: startMs });
  rmSync(passwordFile, { force: true });
  if (status === 0) return;
  rmSync(dataDir, { recursive: true, force: true });
  throw new EmbeddedServerFailed(`the database could not be made in ${dataDir}: ${output}`);
}

async function startPostmaster(cluster: Cluster, options: PostgresOptions): Promise<{ port: number; pid: number }> {
  let said = '';
  for (let tried = 0; tried < PORT_TRIES; tried++) {
    const port = options.port ?? (await freePort());
    const { status, output } = await pgCtl(cluster, ['start', '-w', '-t', seconds(options.startMs), '-l', join(cluster.place, 'postgres.log'), '-o', serverFlags(port, options)], options.startMs);
    const pid = runningPostmaster(cluster.dataDir);
    if (status === 0 && pid !== undefined) return { port, pid };
    said = output;
  }
  throw new EmbeddedServerFailed(`Postgres did not start in ${cluster.dataDir}: ${said}\n${lastWords(join(cluster.place, 'postgres.log'))}`);
}

function serverFlags(port: number, { durable, maxConnections }: PostgresOptions): string {
  const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', `port=${port}`, `max_connections=${maxConnections}`];
  if (!durable) settings.push('fsync=off', 'synchronous_commit=off', 'full_page_writes=off');
  return settings.map((setting) => `-c ${setting}`).join(' ');
}

async function stopPostmaster(cluster: Cluster, { stopMs }: PostgresOptions): Promise<void> {
  if (runningPostmaster(cluster.dataDir) === undefined) return clearAway(cluster.dataDir, stopMs);
  await pgCtl(cluster, ['stop', '-w', '-m', 'fast', '-t', seconds(stopMs)], stopMs);
  if (runningPostmaster(cluster.dataDir) === undefined) return;
  const { output } = await pgCtl(cluster, ['stop', '-w', '-m', 'immediate', '-t', seconds(stopMs)], stopMs);
  if (runningPostmaster(cluster.dataDir) !== undefined) throw new EmbeddedServerFailed(`Postgres in ${cluster.dataDir} did not stop: ${output}`);
}

// After a killed postmaster: its number may belong to another process by now, and a session in the middle of a statement keeps its memory, which refuses a new one.
async function clearAway(dataDir: string, stopMs: number): Promise<void> {
  rmSync(join(dataDir, 'postmaster.pid'), { force: true });
  for (const pid of processesIn(dataDir)) process.kill(pid, 'SIGQUIT');
  if (!(await until(() => processesIn(dataDir).length === 0, stopMs))) throw new EmbeddedServerFailed(`sessions of a killed Postgres in ${dataDir} do not end: processes ${processesIn(dataDir).join(', ')}`);
}

/** Process id of the Postgres that serves these data; undefined when none does. */
export function runningPostmaster(dataDir: string): number | undefined {
  const file = join(dataDir, 'postmaster.pid');
  if (!existsSync(file)) return undefined;
  const pid = Number(readFileSync(file, 'utf8').split('\n')[0]);
  const line = commandLine(pid);
  return line?.includes('postgres') && (line.includes(dataDir) || line.includes(realpathSync(dataDir))) ? pid : undefined;
}

const GRACE_MS = 5_000; // beyond pg_ctl's own limit, so that its words are heard

function pgCtl({ binaries, user, dataDir }: Cluster, args: readonly string[], limitMs: number): Promise<{ status: number | null; output: string }> {
  return runProgram({ path: binaries.pgCtl, args: ['-D', dataDir, ...args], user, timeoutMs: limitMs + GRACE_MS });
}

function lastWords(log: string): string {
  return existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n').slice(-5).join('\n') : '';
}

function seconds(ms: number): string {
  return String(Math.ceil(ms / 1_000));
}
