import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuthModule } from '../../src/auth/auth.module.js';
import { getJson, postJson } from '../support/http-json.js';
import { startWholeApi, type WholeApi } from '../support/whole-api.js';

interface Key {
  readonly id: string;
  readonly key: string | null;
  readonly last4: string;
  readonly revoked_at: number | null;
  readonly last_used_at: number | null;
}

interface Failure {
  readonly error: { readonly code: string; readonly message: string; readonly param: string | null };
}

let api: WholeApi;
let admin: Record<string, string>;
let url: string;

beforeAll(async () => {
  api = await startWholeApi({}, [AuthModule]);
  admin = { authorization: `Bearer ${await api.key('admin')}` };
  url = `${api.url}/v1/api_keys`;
});
afterAll(() => api.close());

const bearer = (key: string | null): Record<string, string> => ({ authorization: `Bearer ${key}` });
const create = async (more: object = {}): Promise<Key> => (await postJson<Key>(url, { name: 'ci', scopes: ['jobs:read'], ...more }, { headers: admin })).json;
const codeOf = async (key: string): Promise<[number, string]> => {
  const { status, json } = await getJson<Failure>(url, bearer(key));
  return [status, json.error.code];
};

describe('an API key', () => {
  it('is shown once, and kept only as a hash', async () => {
    const made = await postJson<Key>(url, { name: 'ci', scopes: ['jobs:read', 'jobs:read', 'files:write'] }, { headers: admin });
    expect(made.status).toBe(201);
    expect(made.json).toEqual({
      id: expect.stringMatching(/^key-[0-9A-Za-z]{24}$/), object: 'api_key', name: 'ci', scopes: ['jobs:read', 'files:write'], key: expect.stringMatching(/^lbk_[0-9A-Za-z]{49}$/),
      last4: made.json.key?.slice(-4), created_at: expect.any(Number), expires_at: null, revoked_at: null, last_used_at: null,
    });
    const [row] = await api.database.query<{ row: string }>('select api_keys::text as row from api_keys where id = $1', [made.json.id]);
    expect(row.row).not.toContain(made.json.key?.slice(4, -4));
    const listed = await getJson<{ data: Key[] }>(url, admin);
    expect(listed.json.data.find(({ id }) => id === made.json.id)).not.toHaveProperty('key');
  });

  it('is refused when missing, mistyped, unknown, expired or revoked, each with its code, and when it lacks the scope', async () => {
    const { id, key } = await create();
    expect((await getJson<Failure>(url)).json.error.code).toBe('auth.key_missing');
    expect(await codeOf('lbk_x')).toEqual([401, 'auth.key_invalid']);
    expect(await codeOf(`${key?.slice(0, -1)}${key?.endsWith('0') ? '1' : '0'}`)).toEqual([401, 'auth.key_invalid']);
    expect(await codeOf(key ?? '')).toEqual([403, 'auth.scope_missing']);

    await api.database.query(`update api_keys set expires_at = clock_timestamp() where id = $1`, [id]);
    expect(await codeOf(key ?? '')).toEqual([401, 'auth.key_expired']);
    const revoked = await fetch(`${url}/${id}`, { method: 'DELETE', headers: admin });
    expect(await revoked.json()).toMatchObject({ id, revoked_at: expect.any(Number) });
    expect(await codeOf(key ?? '')).toEqual([401, 'auth.key_revoked']);
  });

  it('of another installation is unknown, though its checksum holds', async () => {
    const { id, key } = await create();
    await api.database.query('delete from api_keys where id = $1', [id]);
    expect(await codeOf(key ?? '')).toEqual([401, 'auth.key_invalid']);
  });

  it('that does not exist cannot be revoked', async () => {
    const response = await fetch(`${url}/key-none`, { method: 'DELETE', headers: admin });
    expect([response.status, ((await response.json()) as Failure).error.code]).toEqual([404, 'auth.key_unknown']);
  });

  it('names the field at fault when it cannot be made', async () => {
    const { status, json } = await postJson<Failure>(url, { name: 'ci', scopes: ['jobs:read', 'everything'] }, { headers: admin });
    expect([status, json.error.code, json.error.param]).toEqual([400, 'http.invalid_request', 'scopes.1']);
  });

  it('are listed newest first, page by page', async () => {
    const made = [await create(), await create(), await create()].map(({ id }) => id).reverse();
    const first = (await getJson<{ data: Key[]; has_more: boolean; last_id: string }>(`${url}?limit=2`, admin)).json;
    expect([first.data.map(({ id }) => id), first.has_more]).toEqual([made.slice(0, 2), true]);
    const second = (await getJson<{ data: Key[] }>(`${url}?limit=1&after=${first.last_id}`, admin)).json;
    expect(second.data.map(({ id }) => id)).toEqual(made.slice(2));
  });
});

describe('a repeated POST', () => {
  const send = (key: string, body: object = { name: 'again', scopes: ['jobs:read'] }) => postJson<Key & Failure>(url, body, { headers: { ...admin, 'idempotency-key': key } });

  it('is answered as the first was, marked so, without the secret', async () => {
    const first = await send('k-1');
    const second = await send('k-1');
    expect([first.status, second.status]).toEqual([201, 201]);
    expect([first.headers.get('idempotent-replayed'), second.headers.get('idempotent-replayed')]).toEqual([null, 'true']);
    expect(second.json).toEqual({ ...first.json, key: null });
  });

  it('with another body is refused', async () => {
    await send('k-2');
    const { status, json } = await send('k-2', { name: 'other', scopes: ['jobs:read'] });
    expect([status, json.error.code]).toEqual([422, 'idempotency.mismatch']);
  });

  it('creates nothing and keeps nothing when the first was refused', async () => {
    expect((await send('k-3', { name: 'x', scopes: [] })).status).toBe(400);
    expect((await send('k-3')).status).toBe(201);
  });

  it.each([['empty', ''], ['too long', 'x'.repeat(256)], ['not ASCII', 'é']])('is refused when its key is %s', async (_, key) => {
    const { status, json } = await send(key);
    expect([status, json.error.code]).toEqual([400, 'idempotency.key_invalid']);
  });

  it('fifty at once create one, and whoever comes too early is told to come again', async () => {
    const body = { name: 'fifty', scopes: ['jobs:read'] };
    const answers = await Promise.all(Array.from({ length: 50 }, () => send('k-50', body)));
    const [{ count }] = await api.database.query<{ count: number }>(`select count(*) as count from api_keys where name = 'fifty'`);
    expect(count).toBe(1);
    expect(new Set(answers.filter(({ status }) => status === 201).map(({ json }) => json.id)).size).toBe(1);
    for (const { headers, json } of answers.filter(({ status }) => status !== 201)) expect([json.error.code, headers.get('x-should-retry')]).toEqual(['idempotency.in_flight', 'true']);
    expect((await send('k-50', body)).headers.get('idempotent-replayed')).toBe('true');
  });
});

describe('what looks at the service', () => {
  it('probes need no key', async () => {
    expect((await getJson(`${api.url}/health/live`)).json).toEqual({ live: true });
    expect(await getJson(`${api.url}/health/ready`)).toMatchObject({ status: 200, json: { ready: true, parts: { process: 'ok', database: 'ok', queues: 'ok' } } });
    expect((await getJson(`${api.url}/health/startup`)).json).toEqual({ started: true });
  });

  it('metrics do, and tell requests by route', async () => {
    expect((await getJson(`${api.url}/metrics`)).status).toBe(401);
    await create();
    const { text } = await getJson(`${api.url}/metrics`, admin);
    expect(text).toMatch(/limbeck_http_request_duration_seconds_count\{method="POST",route="\/v1\/api_keys",status="201"\} \d+/);
    expect(text).toContain('limbeck_queue_waiting{queue="collect"} 0');
  });

  it('the board of queues lets an admin look, by HTTP Basic, and change nothing', async () => {
    const board = (key: string | null, method = 'GET', path = '/') => fetch(`${api.url}/queues${path}`, { method, headers: key === null ? {} : { authorization: `Basic ${Buffer.from(`me:${key}`).toString('base64')}` } });
    const key = admin.authorization.slice('Bearer '.length);
    const asked = await board(null);
    expect([asked.status, asked.headers.get('www-authenticate')]).toEqual([401, expect.stringMatching(/^Basic realm=/)]);
    expect((await board((await create()).key)).status).toBe(403);
    expect(await (await board(key)).text()).toContain('<title>Limbeck</title>');
    expect(await (await board(key, 'GET', '/api/queues')).json()).toMatchObject({ queues: [{ name: 'collect', readOnlyMode: true }, { name: 'device', readOnlyMode: true }] });
    expect((await board(key, 'PUT', '/api/queues/collect/pause')).status).toBe(405);
  });
});
