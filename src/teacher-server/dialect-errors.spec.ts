import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeTeacherRuntime } from '../../test/support/fake-teacher-runtime.js';
import { getJson, postJson, type JsonAnswer } from '../../test/support/http-json.js';
import { writeTinyModel } from '../../test/support/tiny-model.js';
import { startTeacherServer, type TeacherServer } from './start-teacher-server.js';
import { RuntimeFailed } from './teacher-server.errors.js';

interface ErrorBody {
  readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: number };
}

const KEY = 'a-secret';
const BEARER = { authorization: `Bearer ${KEY}` };

let dir: string;
let runtime: FakeTeacherRuntime;
let server: TeacherServer;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'limbeck-dialect-errors-'));
  await writeTinyModel(join(dir, 'tiny'));
  ({ server, runtime } = await start());
});

afterAll(async () => {
  await server.close();
  await rm(dir, { recursive: true });
});

async function start(): Promise<{ server: TeacherServer; runtime: FakeTeacherRuntime }> {
  const fake = new FakeTeacherRuntime(7);
  const settings = { modelDir: join(dir, 'tiny'), port: 0, apiKey: KEY, maxLogprobs: 20, maxModelLen: 64, maxSequences: 1, queueLimit: 2, retryAfterSeconds: 4, maxBodyBytes: 4096, shutdownGraceMs: 0 };
  return { server: await startTeacherServer(settings, { openRuntime: () => Promise.resolve(fake) }), runtime: fake };
}

function complete(body: unknown, headers: Record<string, string> = BEARER, signal?: AbortSignal): Promise<JsonAnswer<ErrorBody>> {
  return postJson<ErrorBody>(`${server.url}/v1/completions`, body, { headers, signal });
}

const IDS = [1, 2, 3];

describe('refusals of POST /v1/completions', () => {
  it.each([
    { name: 'more logprobs than allowed', body: { prompt: IDS, logprobs: 21 }, param: 'logprobs', message: 'Requested sample logprobs of 21, which is greater than max allowed: 20' },
    { name: 'more prompt_logprobs than allowed', body: { prompt: IDS, prompt_logprobs: 64 }, param: 'prompt_logprobs', message: 'Requested prompt logprobs of 64, which is greater than max allowed: 20' },
    { name: 'an id the model does not have', body: { prompt: [[1], [1, 288]] }, param: 'prompt', message: 'Token id 288 is out of vocabulary' },
    { name: 'an id beyond 32 bits', body: { prompt: [2 ** 32 + 1] }, param: 'prompt', message: `Token id ${2 ** 32 + 1} is out of vocabulary` },
    { name: 'an empty list', body: { prompt: [] }, param: 'prompt', message: 'Either prompt or prompt_embeds must be provided and non-empty.' },
    { name: 'an empty prompt', body: { prompt: [IDS, []] }, param: 'prompt', message: 'The decoder prompt cannot be empty' },
    { name: 'several greedy samples', body: { prompt: IDS, n: 2, temperature: 0 }, param: 'n', message: 'n must be 1 when using greedy sampling, got 2.' },
    { name: 'no sample', body: { prompt: IDS, n: 0 }, param: 'n', message: 'n must be at least 1, got 0.' },
    { name: 'no tokens', body: { prompt: IDS, max_tokens: 0 }, param: 'max_tokens', message: 'max_tokens must be at least 1, got 0.' },
    { name: 'a negative temperature', body: { prompt: IDS, temperature: -1 }, param: 'temperature', message: 'temperature must be non-negative, got -1.' },
    { name: 'an empty nucleus', body: { prompt: IDS, top_p: 0 }, param: 'top_p', message: 'top_p must be in (0, 1], got 0.' },
    { name: 'a negative top_k', body: { prompt: IDS, top_k: -2 }, param: 'top_k', message: 'top_k must be 0 (disable), or at least 1, got -2.' },
    { name: 'more sequences than the queue holds', body: { prompt: [IDS, IDS], n: 2 }, param: 'prompt', message: 'prompt list length 2 times n=2 exceeds the maximum allowed count of 2.' },
    {
      name: 'a prompt that leaves no room',
      body: { prompt: Array.from({ length: 60 }, () => 1), max_tokens: 5 },
      param: 'input_tokens',
      message:
        "This model's maximum context length is 64 tokens. However, you requested 5 output tokens and your prompt contains 60 input tokens, " +
        'for a total of 65 tokens. Please reduce the length of the input prompt or the number of requested output tokens.',
    },
  ])('refuses $name', async ({ body, param, message }) => {
    const { status, json } = await complete(body);
    expect([status, json]).toEqual([400, { error: { message, type: 'BadRequestError', param, code: 400 } }]);
  });

  it.each([
    { field: 'echo', value: true },
    { field: 'stream', value: true },
    { field: 'stop', value: ['\n'] },
    { field: 'suffix', value: 'x' },
    { field: 'use_beam_search', value: true },
    { field: 'min_p', value: 0.1 },
    { field: 'presence_penalty', value: 1 },
    { field: 'frequency_penalty', value: 1 },
    { field: 'repetition_penalty', value: 1.1 },
    { field: 'min_tokens', value: 2 },
    { field: 'logit_bias', value: { 5: 1 } },
    { field: 'allowed_token_ids', value: [1] },
    { field: 'logprob_token_ids', value: [1] },
    { field: 'bad_words', value: ['x'] },
    { field: 'truncate_prompt_tokens', value: 5 },
  ])('refuses $field, which it would have to ignore', async ({ field, value }) => {
    const { status, json } = await complete({ prompt: IDS, [field]: value });
    expect(status).toBe(400);
    expect(json.error).toMatchObject({ type: 'Bad Request', param: field, code: 400 });
    expect(json.error.message).toContain(`\`${field}`);
    expect(json.error.message).toContain('is not supported by this server');
  });

  it.each([
    { name: 'no prompt', body: {}, param: 'prompt' },
    { name: 'a prompt of mixed kinds', body: { prompt: [1, 'two'] }, param: 'prompt' },
    { name: 'a fractional id', body: { prompt: [1.5] }, param: 'prompt' },
    { name: 'a wrong type', body: { prompt: IDS, max_tokens: 'many' }, param: 'max_tokens' },
    { name: 'a seed that JSON cannot carry exactly', body: '{"prompt":[1],"seed":9223372036854775807}', param: 'seed' },
    { name: 'negative logprobs', body: { prompt: IDS, logprobs: -1 }, param: 'logprobs' },
    { name: 'a list for a body', body: [IDS], param: null },
    { name: 'malformed JSON', body: '{"prompt":', param: null },
  ])('refuses $name', async ({ body, param }) => {
    const { status, json } = await complete(body);
    expect(status).toBe(400);
    expect(json.error).toMatchObject({ type: 'Bad Request', param, code: 400 });
    expect(json.error.message).not.toBe('');
  });

  it('refuses a body that is too large', async () => {
    const { status, json } = await complete({ prompt: 'x'.repeat(5000) });
    expect(status).toBe(413);
    expect(json.error).toMatchObject({ type: 'Payload Too Large', param: null, code: 413 });
  });

  it('knows no other model', async () => {
    const { status, json } = await complete({ model: 'other', prompt: IDS });
    expect([status, json]).toEqual([404, { error: { message: 'The model `other` does not exist.', type: 'NotFoundError', param: 'model', code: 404 } }]);
  });
});

describe('keys', () => {
  it.each<{ name: string; headers: Record<string, string> }>([
    { name: 'no key', headers: {} },
    { name: 'another key', headers: { authorization: 'Bearer another' } },
    { name: 'a longer key', headers: { authorization: `Bearer ${KEY}s` } },
    { name: 'another scheme', headers: { authorization: `Basic ${KEY}` } },
  ])('refuses $name on /v1 with a plain string', async ({ headers }) => {
    for (const answer of [await complete({ prompt: IDS }, headers), await getJson(`${server.url}/v1/models`, headers)]) {
      expect([answer.status, answer.json]).toEqual([401, { error: 'Unauthorized' }]);
    }
  });

  it('takes its key, and asks for none elsewhere', async () => {
    expect((await getJson(`${server.url}/v1/models`, BEARER)).status).toBe(200);
    const open = await Promise.all(['health', 'version', 'metrics'].map((path) => getJson(`${server.url}/${path}`)));
    expect(open.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect((await postJson(`${server.url}/tokenize`, { prompt: 'in' })).status).toBe(200);
  });
});

describe('the other routes', () => {
  it('answers unknown ones in the same form', async () => {
    const { status, json } = await getJson<ErrorBody>(`${server.url}/v2/completions`);
    expect([status, json.error.type, json.error.code]).toEqual([404, 'Not Found', 404]);
  });

  it.each([
    { path: 'tokenize', body: { prompt: 5 }, status: 400 },
    { path: 'tokenize', body: { prompt: 'in', model: 'other' }, status: 404 },
    { path: 'tokenize', body: { messages: [{ role: 'nobody', content: '' }] }, status: 400 },
    { path: 'tokenize', body: { messages: [{ role: 'user', content: '' }], chat_template_kwargs: { enable_thinking: false } }, status: 400 },
    { path: 'detokenize', body: { tokens: [999] }, status: 400 },
  ])('refuses $body on /$path', async ({ path, body, status }) => {
    const answer = await postJson<ErrorBody>(`${server.url}/${path}`, body);
    expect([answer.status, answer.json.error.code]).toEqual([status, status]);
  });
});

describe('a busy server', () => {
  it('answers 429 with the time to wait when its queue is full, and a hang-up makes room', async () => {
    const clients = [new AbortController(), new AbortController(), new AbortController()];
    const first = Promise.allSettled([complete({ prompt: IDS, max_tokens: 8 }, BEARER, clients[0].signal)]);
    await runtime.begun();
    const rest = Promise.allSettled(clients.slice(1).map(({ signal }) => complete({ prompt: IDS, max_tokens: 8 }, BEARER, signal)));
    await gauge('sequences_waiting', 2);
    const { status, headers, json } = await complete({ prompt: IDS, max_tokens: 8 });
    expect([status, headers.get('retry-after')]).toEqual([429, '4']);
    expect(json.error).toMatchObject({ type: 'TooManyRequestsError', param: null, code: 429 });

    for (const client of clients) client.abort();
    await gauge('sequences_waiting', 0);
    await Promise.all([first, rest]);
    await runtime.step();
    await gauge('sequences_running', 0);
    const next = complete({ prompt: IDS, max_tokens: 1 });
    await runtime.step();
    expect((await next).status).toBe(200);
  });

  it('says so when it stops, and when its model broke', async () => {
    const stopping = await start();
    const url = stopping.server.url;
    const cut = postJson<ErrorBody>(`${url}/v1/completions`, { prompt: IDS }, { headers: BEARER });
    await stopping.runtime.begun();
    const closed = stopping.server.close();
    expect(await cut.then(({ status, json }) => [status, json.error.type])).toEqual([503, 'Service Unavailable']);
    await stopping.runtime.step();
    await closed;
    expect(stopping.runtime.isClosed).toBe(true);
    await expect(fetch(`${url}/health`)).rejects.toThrow();

    const broken = await start();
    const failed = postJson<ErrorBody>(`${broken.server.url}/v1/completions`, { prompt: IDS }, { headers: BEARER });
    await broken.runtime.fail(new RuntimeFailed('out of memory'));
    expect(await failed.then(({ status, json }) => [status, json.error.type, json.error.code])).toEqual([500, 'InternalServerError', 500]);
    expect((await getJson(`${broken.server.url}/health`)).status).toBe(503);
    await broken.server.close();
  });
});

/** Asks for a gauge until it has a value: the server learns of a hang-up when the socket closes. */
async function gauge(name: string, value: number): Promise<void> {
  for (let text = ''; !text.includes(`\nlimbeck_teacher_${name} ${value}\n`); ) ({ text } = await getJson(`${server.url}/metrics`));
}
