import { Body, Controller, Get, Module, Param, Post, Query, type DynamicModule } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { AppError } from '../../src/common/errors.js';
import { SettingsModule } from '../../src/config/settings.module.js';
import { API_SETTINGS } from '../../src/config/tokens.js';
import { createApp } from '../../src/http/create-app.js';
import { HttpModule } from '../../src/http/http.module.js';
import { loggingModule } from '../../src/http/logging.js';
import { PageQuery } from '../../src/http/page.js';
import { Open } from '../../src/http/scopes.js';
import { getJson, postJson } from '../support/http-json.js';

class StateConflict extends AppError {
  readonly code = 'probe.wrong_state';
  readonly kind = 'conflict';
}

class Busy extends AppError {
  readonly code = 'probe.busy';
  readonly kind = 'too_many';
}

const ProbeBody = z.strictObject({
  name: z.string(),
  method: z.discriminatedUnion('type', [z.strictObject({ type: z.literal('a'), a: z.strictObject({ steps: z.int() }) }), z.strictObject({ type: z.literal('b') })]).optional(),
  any: z.unknown().optional(),
});

@Controller('probe')
@Open()
class ProbeController {
  @Post()
  create(@Body({ schema: ProbeBody }) body: z.output<typeof ProbeBody>): object {
    return body;
  }

  @Get('list')
  list(@Query({ schema: PageQuery }) query: PageQuery): object {
    return query;
  }

  @Get('fails/:how')
  fail(@Param('how') how: string): never {
    if (how === 'conflict') throw new StateConflict('the probe is asleep; wake it', { param: 'state' });
    if (how === 'busy') throw new Busy('too much at once');
    throw new Error('select secret from /srv/limbeck');
  }
}

@Controller('unruled')
class UnruledController {
  @Get()
  get(): string {
    return '';
  }
}

@Module({})
class ProbeModule {
  static with(...controllers: (typeof ProbeController | typeof UnruledController)[]): DynamicModule {
    return { module: ProbeModule, imports: [SettingsModule.of(API_SETTINGS, { drainMs: 0, shutdownMs: 1_000 }), HttpModule, loggingModule({ level: 'silent', service: 'probe' })], controllers };
  }
}

interface Failure {
  readonly error: { readonly message: string; readonly type: string; readonly code: string; readonly param: string | null };
}

const FRAME = { maxBodyBytes: 4096, behindTls: false };
let app: NestExpressApplication;
let url: string;

beforeAll(async () => {
  app = await createApp(ProbeModule.with(ProbeController), FRAME);
  await app.listen(0, '127.0.0.1');
  url = await app.getUrl();
});
afterAll(() => app.close());

describe('a refusal', () => {
  it.each<[string, unknown, string | null, RegExp]>([
    ['a missing field', {}, 'name', /^name: /],
    ['a field it does not know', { name: 'x', colour: 1 }, 'colour', /^colour: no such field$/],
    ['a field it does not know, deep inside', { name: 'x', method: { type: 'a', a: { steps: 1, pace: 2 } } }, 'method.a.pace', /no such field/],
    ['a wrong value in a branch', { name: 'x', method: { type: 'a', a: { steps: 1.5 } } }, 'method.a.steps', /method.a.steps: /],
    ['an unknown branch', { name: 'x', method: { type: 'c' } }, 'method.type', /method.type: /],
    ['broken JSON', '{"name": ', null, /cannot be read/],
    ['a list', [], null, /expected object/],
  ])('names %s', async (_, body, param, message) => {
    const { status, json } = await postJson<Failure>(`${url}/probe`, body);
    expect(status).toBe(400);
    expect(json.error).toEqual({ message: expect.stringMatching(message), type: 'invalid_request_error', code: 'http.invalid_request', param });
  });

  it.each(['{"name":"x","any":{"__proto__":{"admin":true}}}', '{"name":"x","any":{"constructor":{}}}'])('meets keys that reach a prototype: %s', async (body) => {
    const { status, json } = await postJson<Failure>(`${url}/probe`, body);
    expect([status, json.error.code, json.error.param]).toEqual([400, 'http.invalid_request', expect.stringMatching(/^any\.(__proto__|constructor)$/)]);
  });

  it('meets a body nested deeper than 32 levels, and one of 32 passes', async () => {
    const nested = (levels: number): string => `{"name":"x","any":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`;
    expect((await postJson<Failure>(`${url}/probe`, nested(33))).json.error).toMatchObject({ code: 'http.invalid_request', message: expect.stringContaining('32 levels') });
    expect((await postJson(`${url}/probe`, nested(32))).status).toBe(201);
  });

  it('meets a body that is too large', async () => {
    const { status, json } = await postJson<Failure>(`${url}/probe`, { name: 'x'.repeat(5000) });
    expect([status, json.error.code]).toEqual([413, 'http.body_too_large']);
    expect(json.error.message).toContain('4096 bytes');
  });

  it('meets a route that is none', async () => {
    const { status, json } = await getJson<Failure>(`${url}/v1/nothing`);
    expect([status, json.error.code, json.error.type]).toEqual([404, 'http.unknown_route', 'not_found_error']);
  });

  it('meets a query field that is none', async () => {
    const { status, json } = await getJson<Failure>(`${url}/probe/list?limit=5&page=2`);
    expect([status, json.error.param]).toEqual([400, 'page']);
    expect((await getJson(`${url}/probe/list?limit=5`)).json).toEqual({ limit: 5 });
  });

  it('keeps the stock client from repeating a conflict of state', async () => {
    const { status, headers, json } = await getJson<Failure>(`${url}/probe/fails/conflict`);
    expect(status).toBe(409);
    expect(headers.get('x-should-retry')).toBe('false');
    expect(json.error).toEqual({ message: 'the probe is asleep; wake it', type: 'conflict_error', code: 'probe.wrong_state', param: 'state' });
  });

  it('tells how long to wait when it is too much', async () => {
    const { status, headers } = await getJson<Failure>(`${url}/probe/fails/busy`);
    expect([status, headers.get('retry-after')]).toEqual([429, '5']);
  });

  it('of an unexpected failure tells nothing but the request id', async () => {
    const { status, headers, text } = await getJson<Failure>(`${url}/probe/fails/badly`);
    expect(status).toBe(500);
    expect(text).not.toContain('secret');
    expect((JSON.parse(text) as Failure).error).toMatchObject({ code: 'http.unexpected', type: 'server_error', message: expect.stringContaining(headers.get('x-request-id') ?? 'no id') });
  });
});

describe('every answer', () => {
  it('carries a request id: the client\'s where it is harmless', async () => {
    expect((await getJson(`${url}/probe/list`, { 'x-request-id': 'a-1.b_2' })).headers.get('x-request-id')).toBe('a-1.b_2');
    expect((await getJson(`${url}/probe/list`)).headers.get('x-request-id')).toMatch(/^req-[0-9A-Za-z]{24}$/);
    expect((await getJson(`${url}/probe/list`, { 'x-request-id': 'a b"' })).headers.get('x-request-id')).toMatch(/^req-/);
    expect((await postJson(`${url}/probe`, '{')).headers.get('x-request-id')).toMatch(/^req-/);
  });

  it('is neither cached, nor framed, nor sniffed, nor read by other origins', async () => {
    const { headers } = await getJson(`${url}/probe/list`, { origin: 'https://elsewhere.example' });
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
    expect(headers.get('access-control-allow-origin')).toBeNull();
    expect(headers.get('x-powered-by')).toBeNull();
  });
});

it('a route that does not say who may call it keeps the application from starting', async () => {
  await expect(createApp(ProbeModule.with(ProbeController, UnruledController), FRAME)).rejects.toMatchObject({
    code: 'http.route_without_rule',
    message: expect.stringContaining('UnruledController.get'),
  });
});
