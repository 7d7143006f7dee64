import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AuthService } from '../../src/auth/auth.service.js';
import { ApiSettings, WorkerSettings, type ApiSettingsInput, type WorkerSettingsInput } from '../../src/config/service-settings.js';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { ReferenceEngine } from '../../src/engine/reference/reference-engine.js';
import { PromptSetService } from '../../src/prompt-sets/prompt-sets.service.js';
import type { Job } from '../../src/runs/runs.schema.js';
import { startApi, type RunningApi } from '../../src/start-api.js';
import { startWorker, type RunningWorker } from '../../src/start-worker.js';
import { StudentService } from '../../src/students/students.service.js';
import { TeacherService } from '../../src/teachers/teacher.service.js';
import type { TeacherServer } from '../../src/teacher-server/start-teacher-server.js';
import { StageTools, type EngineRequest } from '../../src/worker/stage-tools.js';
import { getJson, postJson } from './http-json.js';
import { freshDatabase, redis, type TestDatabase, type TestRedis } from './service-servers.js';
import { startTestTeacher } from './teacher.js';
import { runHere, tinyPrompts, TinyRun, tinySpec } from './tiny-run.js';

const JOBS = '/v1/fine_tuning/jobs';
const MASTER_KEY = '5a'.repeat(32);
/** Short times, so that nothing is waited for that a test is not about. */
const SWIFT = { leaseMs: 6_000, renewMs: 200, sweepMs: 200, heartbeatMs: 200, databaseRetryMs: 50, metricsFlushMs: 50, shutdownMs: 10_000, probePort: 0, deviceSlots: 1, collectSlots: 2 } as const;

/** Computes in this thread: a process of its own would need the compiled tree. */
export class TestTools extends StageTools {
  override readonly runInterchange = runHere;

  override isDeviceFree(): Promise<boolean> {
    return Promise.resolve(true);
  }

  override async openEngine({ modelDir, killSignal }: EngineRequest): Promise<ReferenceEngine> {
    const engine = await ReferenceEngine.open(modelDir);
    killSignal.addEventListener('abort', () => void engine.close(), { once: true });
    return engine;
  }
}

/** What a tiny service may have otherwise. */
export interface TinyOptions {
  readonly storeDir?: string;
  readonly front?: (teacherUrl: string) => Promise<string>;
}

/** The whole service in this process, on a database, a queue prefix and a store of its own, with a tiny model and a teacher that answers over HTTP. */
export class TinyService {
  private workers: RunningWorker[] = [];

  private constructor(
    readonly database: Database,
    readonly storeDir: string,
    readonly queue: TestRedis,
    private readonly parts: { readonly postgres: TestDatabase; readonly api: RunningApi; readonly teacher: TeacherServer; readonly teacherUrl: string; readonly run: TinyRun; readonly key: string; readonly body: object },
  ) {}

  /**
   * @param options `storeDir` is removed at the end; without it, one is made. `front` stands between the service and the teacher: is told the teacher's address,
   * and gives the one to register.
   */
  static async start({ storeDir: given, front = async (url) => url }: TinyOptions = {}): Promise<TinyService> {
    const [postgres, queue, storeDir, run] = await Promise.all([freshDatabase(), redis(), given ?? mkdtemp(join(tmpdir(), 'limbeck-service-')), TinyRun.lay()]);
    const teacher = await startTestTeacher({ modelDir: join(run.home, 'teacher'), modelName: 'tiny' });
    const teacherUrl = await front(teacher.url);
    const settings = ApiSettings.parse({ databaseUrl: postgres.url, redisUrl: queue.url, redisPrefix: queue.prefix, storeDir, masterKey: MASTER_KEY, allowedTeachers: teacherUrl, logLevel: 'silent', port: 0, drainMs: 0 });
    const api = await startApi(settings);
    const database = new Database(await createDataSource({ url: postgres.url, poolSize: 4, statementMs: 30_000, connectMs: 5_000 }).initialize());
    const key = (await database.transaction((tx) => AuthService.over(database, MASTER_KEY).createKey(tx, { name: 'test', scopes: ['admin'] }))).text;
    const body = await registerInputs(database, settings, { run, teacherUrl });
    return new TinyService(database, storeDir, queue, { postgres, api, teacher, teacherUrl, run, key, body });
  }

  /** Settings of another API of the same service. */
  apiSettings(): ApiSettingsInput {
    const { postgres, teacherUrl } = this.parts;
    return { databaseUrl: postgres.url, redisUrl: this.queue.url, redisPrefix: this.queue.prefix, storeDir: this.storeDir, masterKey: MASTER_KEY, allowedTeachers: teacherUrl, logLevel: 'silent', drainMs: 0 };
  }

  /** Body of a submission, some fields of `method.distillation` changed. */
  submission(change: object = {}): object {
    const { method, ...rest } = this.parts.body as { method: { distillation: object } };
    return { ...rest, method: { ...method, distillation: { ...method.distillation, ...change } } };
  }

  /** Settings of a worker with short times and a worker's rights in the database. */
  workerSettings(change: Partial<WorkerSettingsInput> = {}): WorkerSettingsInput {
    const { postgres, teacherUrl } = this.parts;
    const common = { databaseUrl: postgres.workerUrl, redisUrl: this.queue.url, redisPrefix: this.queue.prefix, storeDir: this.storeDir, masterKey: MASTER_KEY, allowedTeachers: teacherUrl };
    return { ...SWIFT, ...common, engine: 'reference', threads: 1, device: `test-${process.pid}`, logLevel: 'silent', ...change };
  }

  /** Starts a worker in this process. */
  async startWorker(change: Partial<WorkerSettingsInput> = {}, tools: StageTools = new TestTools()): Promise<RunningWorker> {
    const settings = WorkerSettings.parse(this.workerSettings(change));
    const worker = await startWorker(settings, tools);
    this.workers.push(worker);
    return worker;
  }

  /** Ends every worker that was started and has not ended. */
  async stopWorkers(): Promise<void> {
    const workers = this.workers;
    this.workers = [];
    await Promise.all(workers.map((worker) => worker.close()));
  }

  /** Submits the tiny job, some fields of `method.distillation` changed. @returns its id. */
  async submit(change: object = {}, query = ''): Promise<string> {
    const answer = await this.post<Job>(query, this.submission(change));
    if (!answer.json?.id) throw new Error(`the job was refused: ${answer.text}`);
    return answer.json.id;
  }

  /** Below the jobs. */
  post<T>(path: string, body: unknown = {}) {
    return this.order<T>(`${JOBS}${path}`, body);
  }

  order<T>(path: string, body: unknown = {}) {
    return postJson<T>(`${this.parts.api.url}${path}`, body, { headers: this.headers });
  }

  get<T>(path: string) {
    return getJson<T>(`${this.parts.api.url}${path}`, this.headers);
  }

  async job(id: string): Promise<Job> {
    return (await this.get<Job>(`${JOBS}/${id}`)).json;
  }

  /** Waits until `isSo` holds of the job, looking whenever the database says that it changed. @throws when the job ends without it. */
  async until(id: string, isSo: (job: Job) => boolean): Promise<Job> {
    for (;;) {
      const job = await this.job(id);
      if (isSo(job)) return job;
      if (['succeeded', 'failed', 'cancelled'].includes(job.status)) throw new Error(`the job is ${job.status}: ${JSON.stringify(job.error)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Hash of the weights that a succeeded job made. */
  async studentSha256(id: string): Promise<string> {
    const { fine_tuned_model: name } = await this.job(id);
    const directory = await new StudentService(this.database, { storeDir: this.storeDir }).directory(name ?? '');
    return createHash('sha256').update(await readFile(join(directory, 'model.safetensors'))).digest('hex');
  }

  /** Types of all that a job's log tells, in order. */
  async eventTypes(id: string): Promise<string[]> {
    const rows = await this.database.query<{ type: string }>(`select type from events where run_id = $1 and kind = 'event' order by seq`, [id]);
    return rows.map(({ type }) => type);
  }

  get headers(): Record<string, string> {
    return { authorization: `Bearer ${this.parts.key}` };
  }

  async close(): Promise<void> {
    const { postgres, api, teacher, run } = this.parts;
    await this.stopWorkers();
    await api.close();
    await teacher.close();
    await this.database.onApplicationShutdown();
    await Promise.all([postgres.close(), this.queue.close(), run.remove()]);
    await rm(this.storeDir, { recursive: true, force: true });
  }
}

async function registerInputs(database: Database, settings: ApiSettings, { run, teacherUrl }: { run: TinyRun; teacherUrl: string }): Promise<object> {
  const students = new StudentService(database, settings);
  const student = await students.place(run.inputs.modelDir);
  await database.transaction((tx) => students.adopt(tx, { name: 'small', base: null, runId: null, student }));
  const teachers = new TeacherService(database, settings);
  const { id } = await database.transaction((tx) => teachers.create(tx, { name: 'strong', dialect: 'vllm', base_url: teacherUrl, model: 'tiny' }));
  const { seed, suffix, method } = tinySpec({ export: ['safetensors'] });
  const files = { training_file: await keepPrompts(database, settings, tinyPrompts(0, 12)), validation_file: await keepPrompts(database, settings, tinyPrompts(12)) };
  return { model: 'small', ...files, seed, suffix, method: { ...method, distillation: { ...method.distillation, teacher: id } } };
}

/** @returns the id of the prompt file. */
async function keepPrompts(database: Database, settings: ApiSettings, prompts: readonly object[]): Promise<string> {
  const text = prompts.map((prompt) => JSON.stringify(prompt)).join('\n');
  const path = join(settings.storeDir, `received-${prompts.length}`);
  await mkdir(join(settings.storeDir, 'files'), { recursive: true });
  await writeFile(path, text);
  const upload = { path, bytes: Buffer.byteLength(text), sha256: createHash('sha256').update(text).digest('hex'), filename: 'prompts.jsonl', prompts: prompts.length };
  const row = await database.transaction((tx) => new PromptSetService(database, settings).keep(tx, upload, 'fine-tune'));
  return row.id;
}
