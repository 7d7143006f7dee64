import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApiClient } from '../../src/cli/api-client.js';
import { serviceEnvironment, type ApiSettingsInput, type WorkerSettingsInput } from '../../src/config/service-settings.js';
import { SupervisorSettings } from '../../src/config/up-settings.js';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { ensureAdminKey } from '../../src/embedded/admin-key.js';
import { freePort } from '../../src/embedded/free-port.js';
import { openSecrets, type Secrets } from '../../src/embedded/secrets.js';
import { keptPostgres, keptRedis, updateTables, type KeptServer } from '../../src/embedded/servers.js';
import { compiled } from '../support/compiled.js';
import { layInputs, startTeacherProcess, type RunningTeacher } from '../support/whole-inputs.js';
import { ChaosWorker } from './chaos-worker.js';

/** Every duration of ownership, shrunk: what is a minute in production is three seconds here. */
export const SHRUNK = { leaseMs: 3_000, renewMs: 750, sweepMs: 500, heartbeatMs: 500, databaseRetryMs: 100, metricsFlushMs: 100, shutdownMs: 10_000 } as const;
/** What tells a run that crashes by itself from one that is killed on purpose; off, or the suite would meet it by design. */
const KILLS_ARE_MEANT = { restartsPerDay: 10_000, crashLoopFailures: 10_000, trainerRetries: 10_000 } as const;
/** How long what is away stays away. */
export const OUTAGE_MS = 2 * SHRUNK.leaseMs;

/** The whole service as processes that a test can kill, freeze and start again one by one: Postgres, Redis, an API, workers with their engines, and a teacher server. */
export class ChaosService {
  readonly workers: ChaosWorker[] = [];
  private api: ChildProcess | undefined;
  private nextWorker = 1;

  private constructor(
    readonly dir: string,
    readonly postgres: KeptServer & { readonly urls: { readonly owner: string; readonly worker: string } },
    readonly redis: KeptServer & { readonly url: string },
    private readonly teacher: RunningTeacher,
    private readonly parts: { readonly teacherUrl: string; readonly secrets: Secrets; readonly apiPort: number; readonly adminKey: string; readonly database: Database; readonly apiEntry: string; readonly workerEntry: string },
  ) {}

  /** @param front stands between the service and the teacher: is told the teacher's address, and gives the one to register. */
  static async start(front: (teacherUrl: string) => Promise<string> = async (url) => url): Promise<ChaosService> {
    const dir = mkdtempSync(join(tmpdir(), 'limbeck-chaos-'));
    chmodSync(dir, 0o711); // Postgres runs as another user when this is root, and passes through
    const teacher = await startTeacherProcess(await layInputs(dir));
    const teacherUrl = await front(teacher.url);
    const secrets = openSecrets(join(dir, 'secrets.json'));
    const ground = { dataDir: dir, secrets, settings: SupervisorSettings.parse({}), onNotice: () => undefined };
    const [postgres, redis] = await Promise.all([keptPostgres(ground), keptRedis(ground)]);
    await updateTables(postgres.urls.owner, () => undefined);
    const adminKey = await ensureAdminKey({ path: join(dir, 'admin.key'), databaseUrl: postgres.urls.owner, masterKey: secrets.masterKey });
    const database = new Database(await createDataSource({ url: postgres.urls.owner, poolSize: 3, statementMs: 30_000, connectMs: 5_000 }).initialize());
    mkdirSync(join(dir, 'store'));
    const [apiEntry, workerEntry] = [await compiled('src/main.api.ts'), await compiled('src/main.worker.ts')];
    const service = new ChaosService(dir, postgres, redis, teacher, { teacherUrl, secrets, apiPort: await freePort(), adminKey, database, apiEntry, workerEntry });
    await service.startApi();
    return service;
  }

  get url(): string {
    return `http://127.0.0.1:${this.parts.apiPort}`;
  }

  /** The address to register. */
  get teacherUrl(): string {
    return this.parts.teacherUrl;
  }

  get key(): string {
    return this.parts.adminKey;
  }

  /** A connection of the test's own. */
  get database(): Database {
    return this.parts.database;
  }

  /** A client of the API; whoever asks for it closes it. */
  client(): ApiClient {
    return new ApiClient({ url: this.url, key: this.key });
  }

  async startApi(change: Partial<ApiSettingsInput> = {}): Promise<void> {
    const { postgres, parts } = this;
    const environment = serviceEnvironment({ ...this.common, databaseUrl: postgres.urls.owner, port: parts.apiPort, drainMs: 0, ...change });
    this.api = fork(parts.apiEntry, [], { env: { PATH: process.env.PATH, ...environment }, stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: ['--enable-source-maps'] });
    const [said] = (await Promise.race([once(this.api, 'message'), once(this.api, 'exit')])) as [unknown];
    if (typeof said !== 'object' || said === null) throw new Error(`the API ended with status ${String(said)} before it served`);
  }

  async killApi(): Promise<void> {
    if (!this.api) return;
    const gone = once(this.api, 'exit');
    this.api.kill('SIGKILL');
    await gone;
  }

  /** Starts a worker with a device of its own. @param variables beside its settings, such as those of an injected fault. */
  async startWorker(change: Partial<WorkerSettingsInput> = {}, variables: Readonly<Record<string, string>> = {}): Promise<ChaosWorker> {
    const name = `worker-${this.nextWorker++}`;
    const settings = { ...this.common, ...SHRUNK, ...KILLS_ARE_MEANT, databaseUrl: this.postgres.urls.worker, engine: 'native' as const, threads: 1, probePort: 0, nodeName: name, device: `chaos-${process.pid}-${name}`, collectSlots: 2, ...change };
    const worker = await ChaosWorker.start(name, this.parts.workerEntry, { PATH: process.env.PATH ?? '', ...serviceEnvironment(settings), ...variables });
    this.workers.push(worker);
    return worker;
  }

  /** Ends every worker, frozen or not, without ceremony. */
  async killWorkers(): Promise<void> {
    await Promise.all(this.workers.splice(0).map((worker) => worker.kill()));
  }

  async close(): Promise<void> {
    await this.killWorkers();
    await this.killApi();
    await this.database.onApplicationShutdown();
    await Promise.all([this.teacher.stop(), this.postgres.stop(), this.redis.stop()]);
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 3 });
  }

  private get common() {
    const { secrets, teacherUrl } = this.parts;
    return { redisUrl: this.redis.url, storeDir: join(this.dir, 'store'), masterKey: secrets.masterKey, allowedTeachers: teacherUrl, logLevel: 'silent' as const };
  }
}
