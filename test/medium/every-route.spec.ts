import type { OpenAPIObject } from '@nestjs/swagger';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { SCOPES, SECURITY_SCHEME, type Scope } from '../../src/http/scopes.js';
import { getJson } from '../support/http-json.js';
import { startWholeApi, type WholeApi } from '../support/whole-api.js';

/** An operation of the OpenAPI document. */
interface Route {
  readonly method: string;
  readonly path: string;
  /** Scopes it asks for; undefined when it needs no key. */
  readonly scopes: readonly Scope[] | undefined;
}

interface Refused {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

const METHODS = ['get', 'put', 'post', 'patch', 'delete', 'head', 'options'] as const;
/** Routes that answer anybody. One more is a decision, and belongs here. */
const OPEN = ['get /health/live', 'get /health/ready', 'get /health/startup'];

let api: WholeApi;
let routes: Route[];

beforeAll(async () => {
  api = await startWholeApi();
  const { paths } = (await getJson<OpenAPIObject>(`${api.url}/openapi.json`)).json;
  routes = Object.entries(paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const operation = item[method];
      return operation ? [{ method, path, scopes: operation.security?.find((rule) => SECURITY_SCHEME in rule)?.[SECURITY_SCHEME] as Scope[] | undefined }] : [];
    }),
  );
});
afterAll(() => api.close());

async function refusal({ method, path }: Route, key: string | undefined): Promise<Refused> {
  const url = `${api.url}${path.replace(/\{[^}]+\}/g, 'x')}`;
  const body = ['post', 'put', 'patch'].includes(method) ? { body: '{}', headers: { 'content-type': 'application/json' } } : {};
  const response = await fetch(url, { method: method.toUpperCase(), ...body, headers: { ...body.headers, ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) } });
  const text = await response.text();
  const { error } = text.startsWith('{') ? (JSON.parse(text) as { error?: { code: string; message: string } }) : {};
  return { status: response.status, code: error?.code ?? text.slice(0, 80), message: error?.message ?? '' };
}

/** What each route that needs a key answers to `key`. */
async function walk(key: (route: Route) => string | undefined): Promise<[string, number, string][]> {
  const answers: [string, number, string][] = [];
  for (const route of routes.filter(({ scopes }) => scopes !== undefined)) {
    const { status, code } = await refusal(route, key(route));
    answers.push([`${route.method} ${route.path}`, status, code]);
  }
  return answers;
}

const eachRoute = (status: number, code: string): [string, number, string][] =>
  routes.filter(({ scopes }) => scopes !== undefined).map(({ method, path }) => [`${method} ${path}`, status, code]);

it('every route but the probes names its scopes', () => {
  expect(routes.length).toBeGreaterThan(20);
  expect(routes.filter(({ scopes }) => scopes === undefined).map(({ method, path }) => `${method} ${path}`).sort()).toEqual(OPEN);
  for (const { scopes } of routes) expect(SCOPES).toEqual(expect.arrayContaining([...(scopes ?? [])]));
});

it('is refused without a key', async () => {
  expect(await walk(() => undefined)).toEqual(eachRoute(401, 'auth.key_missing'));
});

it('is refused with a key that is none of ours', async () => {
  expect(await walk(() => 'sk-something')).toEqual(eachRoute(401, 'auth.key_invalid'));
});

it('is refused with every scope but the ones it asks for', async () => {
  const keys = new Map<string, string>();
  const but = async (scopes: readonly Scope[]): Promise<string> => {
    const name = scopes.join();
    const made = keys.get(name) ?? (await api.key(...SCOPES.filter((scope) => scope !== 'admin' && !scopes.includes(scope))));
    keys.set(name, made);
    return made;
  };
  for (const route of routes) if (route.scopes) await but(route.scopes);
  expect(await walk(({ scopes }) => keys.get(scopes?.join() ?? ''))).toEqual(eachRoute(403, 'auth.scope_missing'));
  for (const route of routes) {
    if (!route.scopes) continue;
    const { message } = await refusal(route, keys.get(route.scopes.join()));
    expect(message, `${route.method} ${route.path} names the scope`).toContain(route.scopes[0]);
  }
});

it('is refused with an expired key', async () => {
  const key = await api.key('admin');
  await api.database.query('update api_keys set expires_at = clock_timestamp() where last4 = $1', [key.slice(-4)]);
  expect(await walk(() => key)).toEqual(eachRoute(401, 'auth.key_expired'));
});

it('is refused with a revoked key, at once', async () => {
  const key = await api.key('admin');
  const live = await refusal({ method: 'get', path: '/v1/api_keys', scopes: ['admin'] }, key);
  expect(live.status).toBe(200);
  const [row] = await api.database.query<{ id: string }>('select id from api_keys where last4 = $1 order by created_at desc limit 1', [key.slice(-4)]);
  await api.auth.revoke(row.id);
  expect(await walk(() => key)).toEqual(eachRoute(401, 'auth.key_revoked'));
});
