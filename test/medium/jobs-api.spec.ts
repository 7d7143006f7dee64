import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { Database } from '../../src/database/database.js';
import { RunFeed } from '../../src/runs/run-feed.service.js';
import type { Job } from '../../src/runs/runs.schema.js';
import { getJson, postJson } from '../support/http-json.js';
import { registerInputs } from '../support/job-inputs.js';
import { startWholeApi, type WholeApi } from '../support/whole-api.js';

interface Failure {
  readonly error: { readonly code: string; readonly message: string; readonly param: string | null };
}
interface Page<Item> {
  readonly data: Item[];
  readonly has_more: boolean;
  readonly last_id: string | null;
}

let api: WholeApi;
let database: Database;
let headers: Record<string, string>;
let body: Awaited<ReturnType<typeof registerInputs>>;
const JOBS = '/v1/fine_tuning/jobs';
/** Blocks that finding the cursor's own row takes: the descent of an index and the row. */
const POINT_LOOKUP_BLOCKS = 4;
/** Where in a block the rows of a page begin is chance: one of the index and one of the table may be read more. */
const STRADDLED_BLOCKS = 2;

beforeAll(async () => {
  api = await startWholeApi({ dryRunWaitMs: 300 });
  database = api.database;
  headers = { authorization: `Bearer ${await api.key('jobs:read', 'jobs:write')}` };
  body = await registerInputs(database);
});
afterAll(() => api.close());
beforeEach(() => database.query('delete from runs'));

const post = <T = Job>(path: string, sent: unknown = {}, more: Record<string, string> = {}) => postJson<T>(`${api.url}${JOBS}${path}`, sent, { headers: { ...headers, ...more } });
const get = <T>(path: string) => getJson<T>(`${api.url}${JOBS}${path}`, headers);
const create = async (changes: object = {}): Promise<Job> => (await post('', { ...body, ...changes })).json;
const move = (id: string, ...statuses: ('queued' | 'running' | 'pausing' | 'paused' | 'succeeded' | 'failed')[]) =>
  database.transaction(async (tx) => {
    for (const to of statuses) await new RunFeed().move(tx, id, { to, event: { type: 'test', message: to } });
  });
const setStage = (id: string, name: string, status: string) =>
  database.query(`update stages set status = $3, epoch = epoch + 1, lease_expires_at = case when $3 = 'running' then clock_timestamp() + interval '1 hour' end where run_id = $1 and name = $2`, [id, name, status]);

describe('POST', () => {
  it('answers the job object in the shape of OpenAI, defaults filled in', async () => {
    const { status, json } = await post('', { ...body, metadata: { team: 'a' }, suffix: 'v1' });
    expect(status).toBe(200);
    expect(json).toMatchObject({
      object: 'fine_tuning.job',
      model: 'small',
      fine_tuned_model: null,
      organization_id: 'limbeck',
      training_file: 'file-train',
      validation_file: 'file-held',
      result_files: [],
      status: 'validating_files',
      error: null,
      trained_tokens: null,
      seed: 0,
      suffix: 'v1',
      metadata: { team: 'a' },
      dry_run: false,
      finished_at: null,
      method: { type: 'distillation', distillation: { teacher: 'teacher-1', align: { steps: 3, prompts_per_step: 16 }, checkpoint_every: '5m' } },
      lineage: { base_model: 'small', training_sha256: 'aa', validation_sha256: 'bb', teacher: { id: 'teacher-1', name: 'strong', model: 'strong-model', dialect: 'vllm' } },
      usage: { student_tokens: 0, teacher_requests: 0, device_seconds: {} },
    });
    expect(json.id).toMatch(/^ftjob-[0-9A-Za-z]{24}$/);
    expect(json.status_details.stages.map(({ name, status: stage }) => `${name} ${stage}`)).toEqual([
      'validate waiting',
      'collect blocked',
      'distill blocked',
      'align blocked',
      'evaluate blocked',
      'export blocked',
    ]);
    expect(json.status_details).toMatchObject({ stage: 'validate', waiting_reason: 'worker' });
    expect(await database.query('select name, queue from stages where run_id = $1 and queue = $2', [json.id, 'collect'])).toEqual([{ name: 'collect', queue: 'collect' }]);
  });

  it('adds the controls stage only where it is asked for', async () => {
    const job = await create({ method: { type: 'distillation', distillation: { ...body.method.distillation, controls: 'all' } } });
    expect(job.status_details.stages.at(-1)?.name).toBe('controls');
  });

  it.each([
    [{ model: 'none' }, 'jobs.model_unknown', 'model'],
    [{ training_file: 'file-none' }, 'jobs.file_unknown', 'training_file'],
    [{ validation_file: 'file-none' }, 'jobs.file_unknown', 'validation_file'],
    [{ method: { type: 'distillation', distillation: { teacher: 'teacher-none' } } }, 'jobs.teacher_unknown', 'method.distillation.teacher'],
    [{ validation_file: undefined }, 'http.invalid_request', 'validation_file'],
    [{ n_epochs: 3 }, 'http.invalid_request', 'n_epochs'],
    [{ hyperparameters: { n_epochs: 3 } }, 'http.invalid_request', 'hyperparameters'],
    [{ integrations: [] }, 'http.invalid_request', 'integrations'],
    [{ method: { type: 'supervised' } }, 'http.invalid_request', 'method.type'],
    [{ method: { type: 'distillation', distillation: { teacher: 'teacher-1', align: { setps: 3 } } } }, 'http.invalid_request', 'method.distillation.align.setps'],
    [{ method: { type: 'distillation', distillation: { teacher: 'teacher-1', distill: { learning_rate: -1 } } } }, 'http.invalid_request', 'method.distillation.distill.learning_rate'],
    [{ metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, 'v'])) }, 'http.invalid_request', 'metadata'],
    [{ suffix: 'a b' }, 'http.invalid_request', 'suffix'],
  ])('refuses %o and creates nothing', async (changes, code, param) => {
    const { status, json } = await post<Failure>('', { ...body, ...changes });
    expect([status, json.error.code, json.error.param]).toEqual([400, code, param]);
    expect(json.error.message).not.toBe('');
    expect(await database.query('select id from runs')).toEqual([]);
  });

  it('takes null for what the OpenAI client may send empty', async () => {
    const { status, json } = await post('', { ...body, hyperparameters: null, integrations: null, seed: null, suffix: null, metadata: null });
    expect([status, json.seed, json.suffix, json.metadata]).toEqual([200, 0, 'student', {}]);
  });

  it('makes one job of 50 parallel posts with one Idempotency-Key', async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, () => post('', body, { 'idempotency-key': 'once' })));
    const made = answers.filter(({ status }) => status === 200);
    expect(made.length).toBeGreaterThan(0);
    expect(answers.filter(({ status }) => status !== 200).map(({ status }) => status)).toEqual(Array(50 - made.length).fill(409));
    expect(await database.query('select id from runs')).toEqual([{ id: made[0].json.id }]);
    const again = await post('', body, { 'idempotency-key': 'once' });
    expect([again.json.id, again.headers.get('idempotent-replayed')]).toEqual([made[0].json.id, 'true']);
    expect((await post<Failure>('', { ...body, seed: 2 }, { 'idempotency-key': 'once' })).status).toBe(422);
  });

  it('answers a dry run with 202 while nobody has validated it, and with its end once somebody has', async () => {
    const waiting = await post('?dry_run=true', body, { 'idempotency-key': 'dry' });
    expect([waiting.status, waiting.json.status, waiting.json.dry_run]).toEqual([202, 'validating_files', true]);
    expect(waiting.json.status_details.stages.map(({ name }) => name)).toEqual(['validate']);
    await database.query(`update runs set plan = '{"steps": 7}' where id = $1`, [waiting.json.id]);
    await move(waiting.json.id, 'succeeded');
    const done = await post('?dry_run=true', body, { 'idempotency-key': 'dry' });
    expect([done.status, done.json.id, done.json.status, done.json.plan]).toEqual([200, waiting.json.id, 'succeeded', { steps: 7 }]);
  });

  it('answers while Redis is away, and leaves the stage to the sweep', async () => {
    const other = await startWholeApi({ redisUrl: 'redis://127.0.0.1:1', redisCommandMs: 100 });
    const writer = { authorization: `Bearer ${await other.key('jobs:write')}` };
    const { status, json } = await postJson<Job>(`${other.url}${JOBS}`, await registerInputs(other.database), { headers: writer });
    expect([status, json.status_details.stages[0].status]).toEqual([200, 'waiting']);
    await other.close();
  });

  it('needs the scope to write', async () => {
    const reader = { authorization: `Bearer ${await api.key('jobs:read')}` };
    expect((await postJson(`${api.url}${JOBS}`, body, { headers: reader })).status).toBe(403);
    expect((await postJson(`${api.url}${JOBS}`, body)).status).toBe(401);
  });
});

describe('GET list', () => {
  it('shows every job once while others are created', async () => {
    const before = new Set(await fill(120, 'old'));
    const seen: string[] = [];
    let after = '';
    for (let page: Page<Job> | undefined; page?.has_more !== false; after = `&after=${page.last_id}`) {
      await fill(1_000 / 12, 'new');
      page = (await get<Page<Job>>(`?limit=10${after}`)).json;
      seen.push(...page.data.map(({ id }) => id));
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.filter((id) => before.has(id))).toHaveLength(before.size);
  });

  it('filters by status, model and metadata as the OpenAI client sends them', async () => {
    const a = await create({ metadata: { team: 'a', night: '1' } });
    const b = await create({ metadata: { team: 'b' } });
    await move(b.id, 'failed');
    const ids = async (query: string) => (await get<Page<Job>>(query)).json.data.map(({ id }) => id);
    expect(await ids('')).toEqual([b.id, a.id]);
    expect(await ids('?metadata[team]=a')).toEqual([a.id]);
    expect(await ids('?metadata%5Bteam%5D=a&metadata%5Bnight%5D=2')).toEqual([]);
    expect(await ids('?status=failed')).toEqual([b.id]);
    expect(await ids('?model=small&limit=1')).toEqual([b.id]);
    expect(await ids('?model=other')).toEqual([]);
  });

  it('refuses a cursor that is none, and unknown parameters', async () => {
    expect((await get<Failure>('?after=ftjob-none')).json.error).toMatchObject({ code: 'jobs.cursor_unknown', param: 'after' });
    expect((await get<Failure>('?page=2')).json.error).toMatchObject({ code: 'http.invalid_request', param: 'page' });
  });

  it('reads no more of 10,000 jobs for page 500 than for page 1', async () => {
    const ids = await fill(10_000, 'many');
    await database.query('vacuum analyze runs'); // rows that other tests deleted are not to be counted
    const cost = async (path: string): Promise<number> => {
      const asked = vi.spyOn(Database.prototype, 'query');
      await get(path);
      const [sql, parameters] = asked.mock.calls.find(([text]) => /from runs where .* order by/.test(text)) ?? ['', []];
      asked.mockRestore();
      const [plan] = await database.query<{ 'QUERY PLAN': { Plan: Record<string, number> }[] }>(`explain (analyze, buffers, format json) ${sql}`, parameters);
      const root = plan['QUERY PLAN'][0].Plan;
      return root['Shared Hit Blocks'] + root['Shared Read Blocks'];
    };
    const first = await cost('?limit=20');
    const deep = await cost(`?limit=20&after=${ids[ids.length - 499 * 20]}`);
    expect(first).toBeGreaterThan(0);
    expect(deep - POINT_LOOKUP_BLOCKS - STRADDLED_BLOCKS).toBeLessThanOrEqual(1.5 * first);
  });
});

describe('GET one', () => {
  it('answers 404 for an unknown id, on every route', async () => {
    for (const path of ['', '/events', '/checkpoints', '/samples', '/metrics', '/stream']) {
      const { status, json } = await get<Failure>(`/ftjob-none${path}`);
      expect([path, status, json.error.code]).toEqual([path, 404, 'jobs.unknown']);
    }
    for (const order of ['cancel', 'pause', 'resume']) expect((await post<Failure>(`/ftjob-none/${order}`)).json.error.code).toBe('jobs.unknown');
  });

  it('shows progress, usage and the end of the stages', async () => {
    const { id } = await create();
    await move(id, 'queued', 'running');
    await setStage(id, 'validate', 'succeeded');
    await setStage(id, 'collect', 'running');
    await database.query(`update stages set progress = '{"label": "collect", "done": 5, "total": 20, "unit": "answers", "rate": 2.5}' where run_id = $1 and name = 'collect'`, [id]);
    await database.query(`update stages set account = '{"seconds": 3, "tokens": 10, "teacher_calls": 2}', device_seconds = 1.5, teacher_attempts = 3 where run_id = $1 and name = 'validate'`, [id]);
    const { json } = await get<Job>(`/${id}`);
    expect(json.progress).toEqual({ stage: 'collect', label: 'collect', percent: 25, done: 5, total: 20, unit: 'answers', rate: 2.5 });
    expect(json.estimated_finish).toBeGreaterThanOrEqual(json.created_at + 6);
    expect(json.usage).toEqual({ student_tokens: 10, teacher_requests: 2, teacher_attempts: 3, seconds: 3, device_seconds: { validate: 1.5 } });
    expect(json.status_details).toMatchObject({ stage: 'collect', waiting_reason: null });
  });
});

describe('orders', () => {
  it('cancel a job that no worker holds at once, and again without effect', async () => {
    const { id } = await create();
    const first = await post(`/${id}/cancel`);
    expect([first.status, first.json.status]).toEqual([200, 'cancelled']);
    expect(first.json.status_details.stages.every(({ status }) => status === 'cancelled')).toBe(true);
    const events = await types(id);
    expect(events).toEqual(['job.cancelled', 'job.cancel_requested', 'job.created']);
    expect((await post(`/${id}/cancel`)).status).toBe(200);
    expect(await types(id)).toEqual(events);
  });

  it('leave a held job to its worker', async () => {
    const { id } = await create();
    await move(id, 'queued', 'running');
    await setStage(id, 'validate', 'running');
    expect((await post(`/${id}/pause`)).json).toMatchObject({ status: 'pausing', pause_requested_at: expect.any(Number) });
    expect((await post(`/${id}/pause`)).json.status).toBe('pausing');
    expect((await post(`/${id}/cancel`)).json).toMatchObject({ status: 'pausing', cancel_requested_at: expect.any(Number) });
  });

  it('pause and resume a queued job', async () => {
    const { id } = await create();
    await setStage(id, 'validate', 'succeeded');
    await setStage(id, 'collect', 'waiting');
    await move(id, 'queued');
    const paused = await post(`/${id}/pause`);
    expect(paused.json).toMatchObject({ status: 'paused', status_details: { stage: 'collect', waiting_reason: 'resume' } });
    expect((await post(`/${id}/pause`)).status).toBe(200);
    const resumed = await post(`/${id}/resume`);
    expect(resumed.json).toMatchObject({ status: 'queued', pause_requested_at: null, status_details: { stage: 'collect', waiting_reason: 'worker' } });
    expect(await types(id)).toEqual(['job.queued', 'job.paused', 'test', 'job.created']);
  });

  it('pause a running job whose stage nobody holds', async () => {
    const { id } = await create();
    await move(id, 'queued', 'running');
    expect((await post(`/${id}/pause`)).json.status).toBe('paused');
  });

  it.each([
    ['resume', [], 'jobs.not_paused'],
    ['pause', [], 'jobs.not_pausable'],
    ['pause', ['queued', 'running', 'succeeded'], 'jobs.finished'],
    ['cancel', ['queued', 'running', 'succeeded'], 'jobs.finished'],
    ['resume', ['queued', 'running', 'failed'], 'jobs.not_paused'],
  ] as const)('%s after %o is a conflict that is not to be repeated', async (order, statuses, code) => {
    const { id } = await create();
    await move(id, ...statuses);
    const { status, json, headers: answered } = await post<Failure>(`/${id}/${order}`);
    expect([status, json.error.code, answered.get('x-should-retry')]).toEqual([409, code, 'false']);
  });

  it('delete a finished job with its files, and no other', async () => {
    const { id } = await create();
    const remove = () => fetch(`${api.url}${JOBS}/${id}`, { method: 'DELETE', headers });
    expect((await remove()).status).toBe(409);
    const files = join(api.storeDir, 'runs', id);
    await mkdir(join(files, 'checkpoints'), { recursive: true });
    await post(`/${id}/cancel`);
    expect(await (await remove()).json()).toEqual({ id, object: 'fine_tuning.job', deleted: true });
    expect((await get(`/${id}`)).status).toBe(404);
    expect(existsSync(files)).toBe(false);
    expect(await database.query('select 1 from events where run_id = $1', [id])).toEqual([]);
  });
});

describe('history', () => {
  it('pages through events, newest first', async () => {
    const { id } = await create();
    for (const step of [1, 2, 3]) await tell(id, { type: 'checkpoint.saved', message: `step ${step}`, data: { step } });
    const first = (await get<Page<{ id: string; message: string; data: object }>>(`/${id}/events?limit=2`)).json;
    expect(first.data.map(({ message }) => message)).toEqual(['step 3', 'step 2']);
    expect(first.data[0]).toMatchObject({ object: 'fine_tuning.job.event', level: 'info', type: 'message', data: { type: 'checkpoint.saved', step: 3, seq: 5 } });
    expect(first.data[0].id).toBe(`ftevent-${id.slice(6)}-5`);
    const rest = (await get<Page<{ message: string }>>(`/${id}/events?limit=2&after=${first.last_id}`)).json;
    expect([rest.data.map(({ message }) => message), rest.has_more]).toEqual([['step 1', expect.stringContaining('created')], false]);
    expect((await get<Failure>(`/${id}/events?after=ftevent-x-1`)).json.error.code).toBe('jobs.cursor_unknown');
  });

  it('pages through checkpoints and samples', async () => {
    const { id } = await create();
    for (const step of [2, 4, 6]) {
      await database.query(
        `insert into checkpoints (id, run_id, stage, step, epoch, name, bytes, metrics, state) values ($2, $1, 'distill', $3, 1, $4, 100, '{"loss": 1.5}', 'committed')`,
        [id, `ftckpt-${step}`, step, `checkpoints/distill/${step}.1`],
      );
    }
    const first = (await get<Page<{ step_number: number }>>(`/${id}/checkpoints?limit=2`)).json;
    expect([first.data.map(({ step_number }) => step_number), first.has_more]).toEqual([[6, 4], true]);
    expect(first.data[0]).toMatchObject({ id: 'ftckpt-6', object: 'fine_tuning.job.checkpoint', fine_tuning_job_id: id, metrics: { loss: 1.5 }, stage: 'distill', state: 'committed', bytes: 100 });
    expect((await get<Page<{ step_number: number }>>(`/${id}/checkpoints?after=${first.last_id}`)).json.data.map(({ step_number }) => step_number)).toEqual([2]);

    for (const [label, index] of [['before', 0], ['before', 1], ['after_align', 0]]) {
      await database.query(`insert into run_samples values ($1, $2, $3, 'p', null, 's')`, [id, label, index]);
    }
    const samples = (await get<Page<{ id: string }>>(`/${id}/samples?limit=2`)).json;
    expect(samples.data.map((sample) => sample.id)).toEqual(['after_align-0', 'before-0']);
    expect((await get<Page<{ id: string }>>(`/${id}/samples?after=${samples.last_id}`)).json.data.map((sample) => sample.id)).toEqual(['before-1']);
    expect((await get<Page<{ id: string }>>(`/${id}/samples?label=before`)).json.data).toHaveLength(2);
  });
});

async function fill(count: number, label: string): Promise<string[]> {
  const rows = await database.query<{ id: string }>(
    `insert into runs (id, status, model, training_file, validation_file, teacher_id, suffix, seed, spec, spec_hash, lineage, metadata)
     select 'ftjob-' || $2 || md5(random()::text || n), 'succeeded', 'small', 'file-train', 'file-held', 'teacher-1', 's', 0, '{"method": {}}', 'h', '{}', '{}'
     from generate_series(1, $1) n returning id`,
    [Math.ceil(count), label],
  );
  return rows.map(({ id }) => id);
}

function tell(id: string, entry: { type: string; message: string; data: Record<string, unknown> }): Promise<number> {
  return database.transaction((tx) => new RunFeed().tell(tx, id, { kind: 'event', ...entry }));
}

async function types(id: string): Promise<string[]> {
  return (await get<Page<{ data: { type: string } }>>(`/${id}/events`)).json.data.map(({ data }) => data.type);
}
