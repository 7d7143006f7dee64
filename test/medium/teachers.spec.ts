import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { VllmTeacherClient } from '../../src/teacher-clients/vllm/vllm-teacher-client.js';
import type { Teacher } from '../../src/teachers/teacher.schema.js';
import { TeacherService } from '../../src/teachers/teacher.service.js';
import { TeachersModule } from '../../src/teachers/teachers.module.js';
import { FAKE_VOCAB, FakeTeacher } from '../support/fake-teacher/fake-teacher.js';
import { startApi, type RunningApi } from '../support/running-api.js';

const KEY = 'sk-canary-0123456789-wxyz';
const MASTER_KEY = '5a'.repeat(32);

interface Answer<Body = { readonly error: { readonly message: string; readonly code: string; readonly param: string | null } }> {
  readonly status: number;
  readonly text: string;
  readonly body: Body;
}

describe('/v1/teachers', () => {
  let api: RunningApi;
  let fake: FakeTeacher;
  /** As a worker has it. */
  let service: TeacherService;
  const keys: Record<string, string> = {};

  const call = async <Body>(method: string, path: string, options: { readonly body?: unknown; readonly as?: string; readonly headers?: Record<string, string> } = {}): Promise<Answer<Body>> => {
    const headers = { authorization: `Bearer ${keys[options.as ?? 'writer']}`, 'content-type': 'application/json', ...options.headers };
    const response = await fetch(`${api.url}/v1/teachers${path}`, { method, headers, ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }) });
    const text = await response.text();
    return { status: response.status, text, body: JSON.parse(text) as Body };
  };
  const fields = (more: object = {}): object => ({ name: 'big', dialect: 'vllm', base_url: fake.baseUrl, model: 'fake', api_key: KEY, ...more });
  const registered = async (more: object = {}): Promise<Teacher> => (await call<Teacher>('POST', '', { body: fields(more) })).body;
  const rows = async <Row>(sql: string): Promise<Row[]> => api.database.query<Row>(sql);

  beforeAll(async () => {
    fake = await FakeTeacher.start();
    const allowedTeachers = [fake.baseUrl, 'http://127.0.0.1:1'];
    api = await startApi([TeachersModule], { masterKey: MASTER_KEY, allowedTeachers: allowedTeachers.join(), probeTeacherMs: 2_000 });
    service = new TeacherService(api.database, { masterKey: MASTER_KEY, allowedTeachers });
    keys.writer = await api.key('teachers:read', 'teachers:write');
    keys.reader = await api.key('teachers:read');
    keys.runner = await api.key('jobs:write');
  });

  beforeEach(() => {
    fake.received.length = 0;
  });

  afterEach(async () => {
    await rows('delete from runs');
    await rows('delete from teachers');
  });

  afterAll(async () => {
    await api.close();
    await fake.close();
  });

  it('registers a teacher, and never shows its key', async () => {
    const created = await call<Teacher>('POST', '', { body: fields({ base_url: `${fake.baseUrl}/v1` }) });
    expect(created.status).toBe(201);
    expect(created.body).toEqual({
      id: expect.stringMatching(/^teacher-[0-9A-Za-z]{24}$/) as string,
      object: 'teacher',
      name: 'big',
      dialect: 'vllm',
      base_url: fake.baseUrl,
      model: 'fake',
      api_key_last4: 'wxyz',
      created_at: expect.any(Number) as number,
      probe: null,
    });
    expect(Number.isInteger(created.body.created_at)).toBe(true);
    const shown = await call<Teacher>('GET', `/${created.body.id}`, { as: 'reader' });
    const listed = await call<{ data: Teacher[] }>('GET', '', { as: 'reader' });
    expect(shown.body).toEqual(created.body);
    expect(listed.body).toEqual({ object: 'list', data: [created.body], has_more: false, first_id: created.body.id, last_id: created.body.id });
    expect([created, shown, listed].filter(({ text }) => text.includes(KEY))).toEqual([]);
  });

  it('keeps the key where nobody reads it in the database, and gives it to whoever connects', async () => {
    const { id } = await registered();
    const [kept] = await rows<{ plain: string; sealed: Buffer }>('select teachers::text as plain, api_key_sealed as sealed from teachers');
    expect(kept.plain).not.toContain(KEY);
    expect(kept.sealed.includes(Buffer.from(KEY))).toBe(false);
    const { dispatcher, ...connection } = await service.connection(id);
    expect(connection).toEqual({ dialect: 'vllm', baseUrl: fake.baseUrl, model: 'fake', apiKey: KEY });
    const client = new VllmTeacherClient({ ...connection, vocabSize: FAKE_VOCAB, dispatcher });
    expect((await client.probe(4)).maxLength).toBe(512);
    await client.close();
    expect(fake.received.map(({ authorization }) => authorization)).toEqual(Array(3).fill(`Bearer ${KEY}`));
  });

  it('does not open a key that was moved to another teacher', async () => {
    const [first, second] = [await registered(), await registered({ name: 'other', api_key: undefined })];
    await api.database.query('update teachers set api_key_sealed = (select api_key_sealed from teachers where id = $1) where id = $2', [first.id, second.id]);
    await expect(service.connection(second.id)).rejects.toMatchObject({ code: 'secrets.unreadable' });
  });

  it('shows nothing of a short key, and takes a teacher without one', async () => {
    expect((await registered({ api_key: 'short' })).api_key_last4).toBeNull();
    const { id, api_key_last4 } = await registered({ name: 'open', api_key: undefined });
    expect(api_key_last4).toBeNull();
    const connection = await service.connection(id);
    await connection.dispatcher.destroy();
    expect('apiKey' in connection).toBe(false);
  });

  it.each([
    ['an address that is not on the list', { base_url: 'http://127.0.0.1:2' }, 'egress.refused', 'base_url', /rule special_address/],
    ['a name that is not on the list', { base_url: 'http://teacher.example:8000' }, 'egress.refused', 'base_url', /rule not_listed/],
    ['another scheme', { base_url: 'file:///etc/passwd' }, 'egress.refused', 'base_url', /rule scheme/],
    ['another dialect', { dialect: 'grpc' }, 'http.invalid_request', 'dialect', /vllm/],
    ['a field that is none', { url: 'x' }, 'http.invalid_request', 'url', /no such field/],
    ['a name in capitals', { name: 'Big' }, 'http.invalid_request', 'name', /lower-case/],
    ['a key that breaks its header', { api_key: 'a\r\nhost: b' }, 'http.invalid_request', 'api_key', /visible ASCII/],
  ])('refuses %s, and registers nothing', async (_, more, code, param, says) => {
    const { status, body } = await call<Answer['body']>('POST', '', { body: fields(more) });
    expect([status, body.error.code, body.error.param]).toEqual([400, code, param]);
    expect(body.error.message).toMatch(says);
    expect(body.error.message).not.toContain(KEY);
    expect(await rows('select id from teachers')).toEqual([]);
    expect(fake.received).toEqual([]);
  });

  it('refuses a name twice, but gives the first answer again for one Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'register-big' };
    const first = await call<Teacher>('POST', '', { body: fields(), headers });
    const again = await call<Teacher>('POST', '', { body: fields(), headers });
    expect([again.status, again.body]).toEqual([201, first.body]);
    const taken = await call<Answer['body']>('POST', '', { body: fields() });
    expect([taken.status, taken.body.error.code, taken.body.error.param]).toEqual([409, 'teachers.name_taken', 'name']);
    expect(await rows('select id from teachers')).toEqual([{ id: first.body.id }]);
    expect(JSON.stringify(await rows('select * from idempotency_keys'))).not.toContain(KEY);
  });

  it('lists page after page, newest first', async () => {
    const ids: string[] = [];
    for (const name of ['a', 'b', 'c']) ids.unshift((await registered({ name })).id);
    const page = async (query: string): Promise<readonly [string[], boolean]> => {
      const { body } = await call<{ data: Teacher[]; has_more: boolean }>('GET', `?${query}`);
      return [body.data.map(({ id }) => id), body.has_more];
    };
    expect(await page('limit=2')).toEqual([ids.slice(0, 2), true]);
    expect(await page(`limit=2&after=${ids[1]}`)).toEqual([ids.slice(2), false]);
  });

  it('is for keys with the scope only', async () => {
    const { id } = await registered();
    const asked = [
      await call('GET', '', { as: 'runner' }),
      await call('POST', '', { as: 'reader', body: fields({ name: 'x' }) }),
      await call('POST', `/${id}/probe`, { as: 'reader' }),
      await call('DELETE', `/${id}`, { as: 'reader' }),
    ];
    expect(asked.map(({ status }) => status)).toEqual([403, 403, 403, 403]);
  });

  it('answers 404 for a teacher that is none', async () => {
    const asked = [await call<Answer['body']>('GET', '/teacher-none'), await call<Answer['body']>('POST', '/teacher-none/probe'), await call<Answer['body']>('DELETE', '/teacher-none')];
    expect(asked.map(({ status, body }) => [status, body.error.code])).toEqual(Array(3).fill([404, 'teachers.not_found']));
  });

  it('deletes a teacher, but not one that a run uses', async () => {
    const [used, free] = [await registered(), await registered({ name: 'free' })];
    await rows("insert into files (id, filename, purpose, bytes, sha256, prompts, place) values ('file-1', 'a', 'fine-tune', 1, '', 1, 'p')");
    await rows("insert into models (name, source, architecture, parameters, bytes, files, place) values ('m', 'uploaded', 'llama', 1, 1, '[]', 'p')");
    await rows(`insert into runs (id, status, model, training_file, validation_file, teacher_id, suffix, seed, spec, spec_hash, lineage)
                values ('ftjob-1', 'queued', 'm', 'file-1', 'file-1', '${used.id}', 's', 1, '{}', '', '{}')`);
    const refused = await call<Answer['body']>('DELETE', `/${used.id}`);
    expect([refused.status, refused.body.error.code]).toEqual([409, 'teachers.in_use']);
    expect((await call('DELETE', `/${free.id}`)).body).toEqual({ id: free.id, object: 'teacher', deleted: true });
    expect(await rows('select id from teachers')).toEqual([{ id: used.id }]);
  });

  describe('a probe', () => {
    const probe = async (id: string): Promise<object> => {
      const { status, body, text } = await call<Teacher['probe'] & object>('POST', `/${id}/probe`);
      expect(status).toBe(200);
      expect(text).not.toMatch(/secret|upstream/);
      expect((await call<Teacher>('GET', `/${id}`)).body.probe).toEqual(body);
      const { checked_at, ...found } = body;
      expect(Math.abs(checked_at - Date.now() / 1000)).toBeLessThan(600);
      return found;
    };

    it('finds a teacher that serves the model, and shows it the key', async () => {
      expect(await probe((await registered()).id)).toEqual({ status: 'ok', http_status: 200 });
      expect(fake.received.map(({ method, path, authorization }) => [method, path, authorization])).toEqual([['GET', '/v1/models', `Bearer ${KEY}`]]);
    });

    it('finds a teacher that serves other models', async () => {
      expect(await probe((await registered({ model: 'other' })).id)).toEqual({ status: 'model_missing', http_status: 200 });
    });

    it.each([
      [401, {}, { status: 'refused', http_status: 401 }],
      [404, {}, { status: 'refused', http_status: 404 }],
      [302, { location: 'http://127.0.0.1:9/upstream' }, { status: 'refused', http_status: 302, reason: 'redirect' }],
      [429, {}, { status: 'unreachable', http_status: 429 }],
      [503, {}, { status: 'unreachable', http_status: 503 }],
      [200, {}, { status: 'refused', http_status: 200, reason: 'answer_invalid' }],
      [200, { 'content-encoding': 'gzip' }, { status: 'refused', http_status: 200, reason: 'answer_invalid' }],
    ])('passes on the status %i and nothing the server says', async (status, headers: Record<string, string>, found) => {
      fake.next('/v1/models', { kind: 'status', status, body: 'upstream secret', headers: { 'x-upstream': 'secret', ...headers } });
      expect(await probe((await registered()).id)).toEqual(found);
    });

    it.each([
      ['nests without end', { kind: 'text', text: `{"data":${'['.repeat(65)}${']'.repeat(65)}}` } as const, 'answer_invalid'],
      ['does not end', { kind: 'flood' } as const, 'answer_invalid'],
    ])('refuses an answer that %s', async (_, behaviour, reason) => {
      fake.next('/v1/models', behaviour);
      expect(await probe((await registered()).id)).toEqual({ status: 'refused', http_status: 200, reason });
    });

    it('finds a teacher that is down, that breaks off, and that does not answer', async () => {
      expect(await probe((await registered({ name: 'down', base_url: 'http://127.0.0.1:1' })).id)).toEqual({ status: 'unreachable', reason: 'connection_refused' });
      const { id } = await registered();
      fake.next('/v1/models', { kind: 'reset' });
      expect(await probe(id)).toEqual({ status: 'unreachable', reason: 'connection_failed' });
      fake.next('/v1/models', { kind: 'hang' });
      expect(await probe(id)).toEqual({ status: 'unreachable', reason: 'timeout' });
    });

    it('refuses a teacher that the operator allows no longer', async () => {
      const { id } = await registered();
      await rows("update teachers set base_url = 'http://192.168.0.1:8000'");
      expect(await probe(id)).toEqual({ status: 'refused', reason: 'outbound_policy' });
      await expect(service.connection(id)).rejects.toMatchObject({ code: 'egress.refused' });
    });
  });
});
