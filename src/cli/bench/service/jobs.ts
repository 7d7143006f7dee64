import type pg from 'pg';
import { Pool } from 'undici';
import { AppError } from '../../../common/errors.js';
import type { Figure } from '../figure.js';
import { closeClients, openClients } from './clients.js';
import { interleaved, milliseconds, perSecond } from './interleaved.js';
import { readRunRows, writeRunRows, type RunRows } from './run-rows.js';
import { CONNECTIONS, startBenchApi, type BenchApi, type BenchServers } from './servers.js';

const ROUNDS = 5;
const SUBMISSIONS = 400;
const FEW = 100;
const MANY = 10_000;
const PAGES = 60;

const FILE = `file-${'0'.repeat(24)}`;
const TEACHER = `teacher-${'0'.repeat(24)}`;
const MODEL = 'student';
const BODY = JSON.stringify({ model: MODEL, training_file: FILE, validation_file: FILE, method: { type: 'distillation', distillation: { teacher: TEACHER } }, metadata: { team: 'bench' } });

/** The API answered otherwise than it must. */
class AnswerUnexpected extends AppError {
  readonly code = 'cli.answer_unexpected';
  readonly kind = 'bug';
}

/** Listing and submitting jobs over HTTP, through API processes in front of a database with few jobs and one with many. */
export async function measureJobs(servers: BenchServers): Promise<Figure[]> {
  const few = await Side.open(servers, 'few');
  const many = await Side.open(servers, 'many');
  try {
    const rows = await few.submittedRows();
    await many.submit();
    await few.fill(rows, FEW - 1);
    await many.fill(rows, MANY - 1);
    return [await listing(few, many), await submissions(few, rows)];
  } finally {
    await few.close();
    await many.close();
  }
}

async function listing(few: Side, many: Side): Promise<Figure> {
  const page = (side: Side) => async (): Promise<number> => (await milliseconds(async () => { for (let time = 0; time < PAGES; time++) await side.list(); })) / PAGES;
  const { ours, limit } = await interleaved(ROUNDS, page(many), page(few));
  return { name: `listing jobs at ${MANY} (limit: at ${FEW})`, shape: 'a page of 20 over HTTP', value: ours, unit: 'ms', limit, share: ours / limit, goal: { atMost: 2 } };
}

async function submissions(side: Side, rows: RunRows): Promise<Figure> {
  const ours = (): Promise<number> => perSecond(SUBMISSIONS, CONNECTIONS, () => side.submit());
  const plain = (): Promise<number> => perSecond(SUBMISSIONS, CONNECTIONS, (_, lane) => writeRunRows(side.clients[lane], rows));
  const { ours: value, limit } = await interleaved(ROUNDS, ours, plain);
  const shape = `${CONNECTIONS} at a time, ${rows.stages.length} stages and ${rows.events.length} feed entries each`;
  return { name: 'jobs submitted over HTTP (limit: plain pg, the same rows)', shape, value, unit: '1/s', limit, share: value / limit, goal: { atLeast: 0.25 } };
}

/** One database with an API in front of it. */
class Side {
  private constructor(
    private readonly api: BenchApi,
    private readonly http: Pool,
    readonly clients: readonly pg.Client[],
  ) {}

  static async open(servers: BenchServers, name: string): Promise<Side> {
    const databaseUrl = await servers.newDatabase(name);
    const clients = await openClients(databaseUrl);
    await clients[0].query(`insert into models (name, source, architecture, parameters, bytes, files, place) values ('${MODEL}', 'uploaded', 'llama', 1, 1, '[]', 'bench')`);
    await clients[0].query(`insert into files (id, filename, purpose, bytes, sha256, prompts, place) values ('${FILE}', 'bench.jsonl', 'fine-tune', 1, '', 1, 'bench')`);
    await clients[0].query(`insert into teachers (id, name, dialect, base_url, model) values ('${TEACHER}', 'bench', 'vllm', 'http://127.0.0.1:1', 'bench')`);
    const api = await startBenchApi(servers, { databaseUrl, redisPrefix: name });
    return new Side(api, new Pool(api.url, { connections: CONNECTIONS }), clients);
  }

  /** @returns the job's id. */
  async submit(): Promise<string> {
    const { id } = (await this.ask('POST', '/v1/fine_tuning/jobs', BODY)) as { id: string };
    return id;
  }

  async list(): Promise<void> {
    await this.ask('GET', '/v1/fine_tuning/jobs?limit=20');
  }

  async submittedRows(): Promise<RunRows> {
    return readRunRows(this.clients[0], await this.submit());
  }

  /** Adds jobs without going through the API. */
  async fill(rows: RunRows, count: number): Promise<void> {
    const [client] = this.clients;
    await client.query('set synchronous_commit = off');
    const run = { ...rows.run, created_by: null }; // the key that submitted may be another database's
    for (let job = 0; job < count; job++) await writeRunRows(client, { ...rows, run });
    await client.query('reset synchronous_commit');
    await client.query('analyze');
  }

  async close(): Promise<void> {
    await this.http.close();
    await closeClients(this.clients);
    await this.api.stop();
  }

  private async ask(method: 'GET' | 'POST', path: string, body?: string): Promise<unknown> {
    const { statusCode, body: answer } = await this.http.request({ method, path, body, headers: { authorization: `Bearer ${this.api.key}`, 'content-type': 'application/json' } });
    const text = await answer.text();
    if (statusCode !== 200) throw new AnswerUnexpected(`${method} ${path} was answered ${statusCode}: ${text.slice(0, 500)}`);
    return JSON.parse(text);
  }
}
