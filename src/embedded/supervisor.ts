import { chmodSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { serviceEnvironment } from '../config/service-settings.js';
import { SupervisorSettings, machineEnvironment, type ApiOverrides, type SupervisorSettingsInput, type WorkerOverrides } from '../config/up-settings.js';
import { ensureAdminKey } from './admin-key.js';
import { lockDirectory } from './data-lock.js';
import { freePort } from './free-port.js';
import { openSecrets, type Secrets } from './secrets.js';
import { keptPostgres, keptRedis, updateTables, watchOver, type KeptServer } from './servers.js';
import { ServiceProcess, endLeftover } from './service-process.js';
import { readRecord, removeRecord, writeRecord } from './service-record.js';

/** What to run. */
export interface ServiceOptions {
  /** Everything the installation keeps lies here. */
  readonly dataDir: string;
  readonly supervisor?: SupervisorSettingsInput;
  readonly api?: ApiOverrides;
  readonly worker?: WorkerOverrides;
  /** Where the compiled `main.api.js` and `main.worker.js` lie; by default beside this code. */
  readonly programs?: string;
  /** One line about something that happened. The processes' own logs are files in the data directory. */
  readonly onNotice: (line: string) => void;
}

/** A whole service: Postgres, Redis, API and one worker. */
export interface RunningService {
  /** Of the API. */
  readonly url: string;
  /** A key with every right. */
  readonly adminKey: string;
  /** The file it is kept in. */
  readonly adminKeyFile: string;
  readonly dataDir: string;
  /** Ends worker, API, Redis and Postgres, in this order. */
  stop(): Promise<void>;
}

interface Connections {
  readonly databaseUrl: string;
  readonly workerDatabaseUrl: string;
  readonly redisUrl: string;
}

/** Things to undo, the last one first. */
type Undo = (() => unknown)[];

/**
 * Starts everything, in order, and returns when API and worker serve; what a killed supervisor left is stopped first. When anything fails, what had started is stopped.
 * @throws DataDirectoryInUse, RedisMissing, EmbeddedServerFailed
 */
export async function startService(options: ServiceOptions): Promise<RunningService> {
  const undo: Undo = [];
  const stop = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    return { ...(await start(options, undo)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(options: ServiceOptions, undo: Undo): Promise<Omit<RunningService, 'stop'>> {
  const settings = SupervisorSettings.parse(options.supervisor ?? {});
  const dataDir = openDirectory(options.dataDir);
  undo.push(await lockDirectory(dataDir));
  const recordFile = join(dataDir, 'service.json');
  for (const { pid, entry } of readRecord(recordFile)?.processes ?? []) await endLeftover(pid, entry, settings.stopMs);
  const secrets = openSecrets(join(dataDir, 'secrets.json'));
  const connections = await startServers(options, { dataDir, settings, secrets }, undo);
  await updateTables(connections.databaseUrl, options.onNotice);
  const masterKey = settings.masterKey ?? secrets.masterKey;
  const adminKeyFile = join(dataDir, 'admin.key');
  const adminKey = await ensureAdminKey({ path: adminKeyFile, databaseUrl: connections.databaseUrl, masterKey });
  const storeDir = settings.storeDir ?? join(dataDir, 'store');
  mkdirSync(storeDir, { recursive: true, mode: 0o700 });
  const { url, processes } = await startProcesses(options, { connections, masterKey, storeDir, dataDir, settings }, undo);
  const known = processes.map(({ process: { pid }, entry }) => ({ pid: pid!, entry }));
  writeRecord(recordFile, { url, supervisor: process.pid, databaseUrl: connections.databaseUrl, redisUrl: connections.redisUrl, storeDir, processes: known });
  undo.push(() => removeRecord(recordFile));
  return { url, adminKey, adminKeyFile, dataDir };
}

function openDirectory(path: string): string {
  const dataDir = resolve(path);
  mkdirSync(join(dataDir, 'logs'), { recursive: true, mode: 0o700 });
  // Postgres runs as another user when this is root, and passes through; what lies inside has rights of its own.
  chmodSync(dataDir, process.getuid?.() === 0 ? 0o711 : 0o700);
  return dataDir;
}

interface Ground {
  readonly dataDir: string;
  readonly settings: SupervisorSettings;
  readonly secrets: Secrets;
}

async function startServers({ onNotice }: ServiceOptions, { dataDir, settings, secrets }: Ground, undo: Undo): Promise<Connections> {
  const ground = { dataDir, settings, secrets, onNotice };
  const kept: KeptServer[] = [];
  const keep = <Server extends KeptServer>(server: Server): Server => {
    kept.push(server);
    undo.push(() => server.stop());
    return server;
  };
  const urls = settings.databaseUrl === undefined ? keep(await keptPostgres(ground)).urls : { owner: settings.databaseUrl, worker: settings.databaseUrl };
  const redisUrl = settings.redisUrl ?? keep(await keptRedis(ground)).url;
  undo.push(watchOver(kept, { everyMs: settings.watchMs, onNotice }));
  return { databaseUrl: urls.owner, workerDatabaseUrl: urls.worker, redisUrl };
}

interface ProcessGround {
  readonly connections: Connections;
  readonly masterKey: string;
  readonly storeDir: string;
  readonly dataDir: string;
  readonly settings: SupervisorSettings;
}

interface Started {
  readonly url: string;
  readonly processes: readonly { readonly process: ServiceProcess; readonly entry: string }[];
}

/** API and worker, each at a port that is known before it starts, so that it keeps its address when it is started again. */
async function startProcesses(options: ServiceOptions, ground: ProcessGround, undo: Undo): Promise<Started> {
  const { connections, masterKey, storeDir, dataDir, settings } = ground;
  const programs = options.programs ?? join(import.meta.dirname, '..');
  const common = { redisUrl: connections.redisUrl, masterKey, storeDir };
  const port = await portOf(options.api?.port ?? 8080);
  const probePort = await portOf(options.worker?.probePort ?? 0);
  const host = options.api?.host ?? '127.0.0.1';
  const url = `http://${host === '0.0.0.0' ? '127.0.0.1' : host}:${port}`;
  const limits = { startMs: settings.startMs, stopMs: settings.stopMs, restartMs: settings.restartMs, onNotice: options.onNotice };
  const api = {
    ...limits,
    name: 'API',
    entry: join(programs, 'main.api.js'),
    environment: { ...machineEnvironment(), ...serviceEnvironment({ ...options.api, ...common, databaseUrl: connections.databaseUrl, port }) },
    readyUrl: `${url}/health/ready`,
    logFile: join(dataDir, 'logs', 'api.log'),
  };
  const worker = {
    ...limits,
    name: 'worker',
    entry: join(programs, 'main.worker.js'),
    environment: { ...machineEnvironment(), ...serviceEnvironment({ ...options.worker, ...common, databaseUrl: connections.workerDatabaseUrl, probePort, probeHost: '127.0.0.1' }) },
    readyUrl: `http://127.0.0.1:${probePort}/health/ready`,
    logFile: join(dataDir, 'logs', 'worker.log'),
  };
  const processes = [api, worker].map((one) => ({ process: new ServiceProcess(one), entry: one.entry }));
  for (const one of processes) undo.push(() => one.process.stop());
  const outcomes = await Promise.allSettled(processes.map((one) => one.process.start()));
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  return { url, processes };
}

async function portOf(wanted: unknown): Promise<number> {
  return Number(wanted) === 0 ? freePort() : Number(wanted);
}
