import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { stringify as toYaml } from 'yaml';
import type { z } from 'zod';
import { ApiClient } from '../../src/cli/api-client.js';
import type { ServerEvent } from '../../src/cli/event-stream.js';
import { startService, type RunningService } from '../../src/embedded/supervisor.js';
import { Job } from '../../src/runs/runs.schema.js';
import { compiled } from './compiled.js';
import { getJson, postJson } from './http-json.js';
import { layInputs, registerInputs, startTeacherProcess, type RegisteredInputs } from './whole-inputs.js';

const JOBS = '/v1/fine_tuning/jobs';
/** Longer than any test: what is told in time was told by a push, and not found by looking again. */
const NEVER_MS = 3_600_000;
/** Steps enough for an order to arrive while they are taken. */
export const TINY_METHOD = {
  targets: { top_k: 16 },
  collect: { max_tokens: 12 },
  distill: { epochs: 20, loss_tokens_per_step: 60, learning_rate: 1e-3 },
  align: { steps: 7, prompts_per_step: 4, max_tokens: 10, learning_rate: 2e-4 },
  evaluate: { prompts: 4, rollouts_per_prompt: 2, max_tokens: 10 },
  checkpoint_every: { steps: 8 },
  export: ['safetensors'],
};

/** A message of a job's stream, its data read. */
export interface Told {
  readonly event: string;
  readonly seq: string | undefined;
  readonly data: Record<string, unknown>;
}

/** The whole service as its own processes (Postgres, Redis, API, worker, engines) with a teacher server beside it, reached over HTTP alone. */
export class WholeService {
  inputs: RegisteredInputs = { model: '', trainingFile: '', validationFile: '', teacher: '' };
  readonly client: ApiClient;

  private constructor(
    /** Holds `student`, `train.jsonl` and `heldout.jsonl`. */
    readonly dir: string,
    readonly teacherUrl: string,
    private readonly service: RunningService,
    private readonly stopTeacher: () => Promise<void>,
  ) {
    this.client = new ApiClient({ url: service.url, key: service.adminKey });
  }

  static async start(): Promise<WholeService> {
    const dir = mkdtempSync(join(tmpdir(), 'limbeck-whole-'));
    chmodSync(dir, 0o711); // Postgres runs as another user when this is root, and passes through
    const teacher = await startTeacherProcess(await layInputs(dir));
    const allowedTeachers = teacher.url;
    const service = await startService({
      dataDir: join(dir, 'service'),
      api: { port: 0, allowedTeachers, streamPollMs: NEVER_MS },
      worker: { allowedTeachers, renewMs: NEVER_MS, leaseMs: 4 * NEVER_MS, sweepMs: NEVER_MS, metricsFlushMs: 100, device: `test-${process.pid}` },
      programs: dirname(await compiled('src/main.api.ts')),
      onNotice: () => undefined,
    });
    return new WholeService(dir, teacher.url, service, teacher.stop);
  }

  /** Sends model and prompt files and registers the teacher. */
  async register(): Promise<void> {
    this.inputs = await registerInputs(this.client, this.dir, this.teacherUrl);
  }

  /** Body of a submission, some fields of `method.distillation` changed. */
  submission(change: object = {}): Record<string, unknown> {
    const { model, trainingFile, validationFile, teacher } = this.inputs;
    return { model, training_file: trainingFile, validation_file: validationFile, seed: 11, method: { type: 'distillation', distillation: { teacher, ...TINY_METHOD, ...change } } };
  }

  /** The same job as a file of its own for `limbeck distill`. @returns its path. */
  async jobFile(): Promise<string> {
    const teacher = { dialect: 'vllm', base_url: this.teacherUrl, model: 'tiny-teacher' };
    const job = { model: './student', training_file: './train.jsonl', validation_file: './heldout.jsonl', seed: 11, method: { type: 'distillation', distillation: { teacher, ...TINY_METHOD } } };
    const path = join(this.dir, 'job.yaml');
    await writeFile(path, toYaml(job));
    return path;
  }

  /** @returns the id of the job. */
  async submit(change: object = {}): Promise<string> {
    return (await this.client.post(JOBS, this.submission(change), Job)).id;
  }

  job(id: string): Promise<Job> {
    return this.client.get(`${JOBS}/${id}`, Job);
  }

  order(id: string, order: 'cancel' | 'pause' | 'resume'): Promise<Job> {
    return this.client.post(`${JOBS}/${id}/${order}`, {}, Job);
  }

  /** Every item of a list of the job, in the API's order. */
  async list<Item>(id: string, what: 'events' | 'checkpoints' | 'samples', item: z.ZodType<Item>): Promise<Item[]> {
    const items: Item[] = [];
    for await (const each of this.client.list(`${JOBS}/${id}/${what}?limit=50`, item)) items.push(each);
    return items;
  }

  /** Reads the job's stream to its end, or to the first message that `isLast` holds for. @throws when the stream ends before. */
  async follow(id: string, isLast: (told: Told) => boolean = ({ event }) => event === 'done'): Promise<Told[]> {
    const seen: Told[] = [];
    for await (const message of this.client.stream(`${JOBS}/${id}/stream`)) {
      const told = read(message);
      seen.push(told);
      if (isLast(told)) return seen;
    }
    throw new Error(`the stream ended early, with ${JSON.stringify(seen.slice(-5))}`);
  }

  /** Sends a body as it is; for what is to be refused. */
  post<T>(path: string, body: unknown) {
    return postJson<T>(`${this.service.url}${path}`, body, { headers: this.headers });
  }

  async postForm<T>(path: string, fields: Readonly<Record<string, string | File>>): Promise<{ readonly status: number; readonly json: T }> {
    const body = new FormData();
    for (const [name, value] of Object.entries(fields)) body.set(name, value);
    const answer = await fetch(`${this.service.url}${path}`, { method: 'POST', headers: this.headers, body });
    return { status: answer.status, json: (await answer.json()) as T };
  }

  get<T>(path: string) {
    return getJson<T>(`${this.service.url}${path}`, this.headers);
  }

  async stop(): Promise<void> {
    await this.client.close();
    await this.service.stop();
    await this.stopTeacher();
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 3 });
  }

  private get headers(): Record<string, string> {
    return { authorization: `Bearer ${this.service.adminKey}` };
  }
}

function read({ event, id, data }: ServerEvent): Told {
  return { event, seq: id, data: JSON.parse(data) as Record<string, unknown> };
}
