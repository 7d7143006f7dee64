import { createServer as createTlsServer } from 'node:https';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FAKE_VOCAB, FakeTeacher, type Behaviour } from '../../../test/support/fake-teacher/fake-teacher.js';
import { TEST_CERTIFICATE, TEST_CERTIFICATE_KEY } from '../../../test/support/test-certificate.js';
import { Aborted } from '../../common/errors.js';
import type { Sampling, TokenIds } from '../../tokens/sample.js';
import { TeacherAnswerInvalid, TeacherRefused, TeacherUnavailable } from '../teacher-client.js';
import type { Timing } from '../timing.js';
import type { VllmLimits } from './vllm-options.js';
import { VllmTeacherClient } from './vllm-teacher-client.js';

const COMPLETIONS = '/v1/completions';
const SAMPLING: Sampling = { temperature: 1, topP: 1, topK: 0, maxTokens: 3, stopIds: [] };
const IDS: TokenIds = Int32Array.of(1, 2, 3);

/** Time that passes only by waiting; chance that always gives the middle. */
class FakeTime implements Timing {
  readonly waits: number[] = [];
  private passedMs = 0;
  readonly now = (): number => this.passedMs;
  readonly jitter = (): number => 0.5;
  readonly wait = (ms: number): Promise<void> => {
    this.waits.push(ms);
    this.passedMs += ms;
    return Promise.resolve();
  };
}

describe('the vLLM client over a bad line', () => {
  let fake: FakeTeacher;
  let time: FakeTime;
  let client: VllmTeacherClient;

  const connect = (limits: Partial<VllmLimits> = {}, baseUrl = fake.baseUrl): VllmTeacherClient =>
    new VllmTeacherClient({ baseUrl, model: 'fake', vocabSize: FAKE_VOCAB, limits, timing: time });
  const failing = (status: number, headers?: Readonly<Record<string, string>>, body = '{"error":{"message":"words"}}'): Behaviour => ({ kind: 'status', status, body, headers });
  const score = async (from = client, signal?: AbortSignal): Promise<number> => {
    let rows = 0;
    for await (const block of from.score([{ ids_T: IDS, from: 1 }], 3, signal)) rows += block.tail_R.length;
    return rows;
  };
  const failure = (from = client): Promise<unknown> => score(from).catch((error: unknown) => error);

  beforeEach(async () => {
    fake = await FakeTeacher.start();
    time = new FakeTime();
    client = connect();
  });

  afterEach(async () => {
    await client.close();
    await fake.close();
  });

  it('tries again after 429, 5xx and a broken connection, waiting longer each time', async () => {
    for (const behaviour of [failing(429), failing(503), { kind: 'reset' } as const, { kind: 'cut' } as const, failing(500)]) fake.next(COMPLETIONS, behaviour);
    expect(await score()).toBe(2);
    expect(fake.received).toHaveLength(6);
    expect(time.waits).toEqual([500, 1000, 2000, 4000, 8000].map((ms) => 500 + 0.5 * (2 * ms - 500)));
  });

  it('waits as long as Retry-After says, in seconds or until a date', async () => {
    fake.next(COMPLETIONS, failing(429, { 'retry-after': '7' }));
    fake.next(COMPLETIONS, failing(503, { 'retry-after': new Date(Date.now() + 40_000).toUTCString() }));
    expect(await score()).toBe(2);
    expect(time.waits[0]).toBe(7000);
    expect(time.waits[1]).toBeGreaterThan(30_000);
    expect(time.waits[1]).toBeLessThanOrEqual(40_000);
  });

  it('lets a Retry-After hold for every request, up to ten minutes', async () => {
    fake.next(COMPLETIONS, failing(429, { 'retry-after': '86400' }));
    await score();
    expect(time.waits).toEqual([600_000]);
    fake.next(COMPLETIONS, failing(400, { 'retry-after': '50' }));
    expect(await failure()).toBeInstanceOf(TeacherRefused);
    expect(await score()).toBe(2);
    expect(time.waits).toEqual([600_000]);
  });

  it('gives up after six tries, and repeats the last words', async () => {
    for (let i = 0; i < 6; i++) fake.next(COMPLETIONS, failing(429, { 'retry-after': '50' }, '{"error":{"message":"the queue is full"}}'));
    const error = await failure();
    expect(error).toBeInstanceOf(TeacherUnavailable);
    expect(String(error)).toMatch(/after 6 attempts: POST http:.*answered 429: the queue is full/);
    expect(time.waits).toEqual(Array(5).fill(50_000));
  });

  it('tries a 500 twice more and no oftener, for a server out of memory is so again', async () => {
    for (let i = 0; i < 9; i++) fake.next(COMPLETIONS, failing(500));
    expect(await failure()).toBeInstanceOf(TeacherUnavailable);
    expect(fake.received).toHaveLength(3);
  });

  it('asks again after an invalid answer, and says what was wrong when all are', async () => {
    fake.next(COMPLETIONS, { kind: 'text', text: '<html>' });
    fake.next(COMPLETIONS, { kind: 'changed', change: ({ prompt_logprobs }) => prompt_logprobs?.pop() });
    expect(await score()).toBe(2);
    for (let i = 0; i < 6; i++) fake.next(COMPLETIONS, { kind: 'text', text: '<html>' });
    expect(await failure()).toBeInstanceOf(TeacherAnswerInvalid);
    expect(fake.received).toHaveLength(9);
  });

  it('stops once more than ten of the last thousand answers were invalid', async () => {
    for (let request = 0; request < 5; request++) {
      for (let i = 0; i < 2; i++) fake.next(COMPLETIONS, { kind: 'text', text: '<html>' });
      expect(await score()).toBe(2);
    }
    fake.next(COMPLETIONS, { kind: 'text', text: '<html>' });
    const error = await failure();
    expect(error).toMatchObject({ code: 'teacher.bad_output' });
    expect(String(error)).toMatch(/11 of the teacher's last 16 answers were invalid/);
    expect(fake.received).toHaveLength(16);
  });

  it.each([
    { name: 'nested', status: 400, body: '{"error":{"message":"maximum context length is 8","type":"BadRequestError","param":null,"code":400}}', says: /answered 400: maximum context length is 8/ },
    { name: 'flat', status: 400, body: '{"object":"error","message":"too long","type":"x","param":null,"code":400}', says: /answered 400: too long/ },
    { name: 'a string', status: 401, body: '{"error":"Unauthorized"}', says: /answered 401: Unauthorized. Set api_key_env/ },
    { name: 'detail', status: 404, body: '{"detail":"Not Found"}', says: /answered 404: Not Found/ },
    { name: 'not JSON', status: 400, body: '<h1>Bad\n request</h1>', says: /answered 400: <h1>Bad request<\/h1>/ },
    { name: 'empty', status: 422, body: '', says: /answered 422: an empty body/ },
    { name: 'a redirect', status: 307, body: '', says: /Redirects are not followed/ },
    { name: 'not implemented', status: 501, body: '{"error":{"message":"no"}}', says: /answered 501: no/ },
  ])('passes on a refusal at once, in the teacher\'s own words: $name', async ({ status, body, says }) => {
    fake.next(COMPLETIONS, failing(status, {}, body));
    const error = await failure();
    expect(error).toBeInstanceOf(TeacherRefused);
    expect(String(error)).toMatch(says);
    expect(fake.received).toHaveLength(1);
  });

  it('closes the connection when told to stop', async () => {
    fake.next(COMPLETIONS, { kind: 'hang' });
    const stop = new AbortController();
    const outcome = score(client, stop.signal).catch((error: unknown) => error);
    await fake.arrivals(1);
    const left = fake.hangUp();
    stop.abort();
    expect(await outcome).toBeInstanceOf(Aborted);
    await left;
  });

  it('closes the connections of the other requests when one is refused', async () => {
    fake.next(COMPLETIONS, { kind: 'hang' });
    fake.next(COMPLETIONS, failing(400));
    const left = fake.hangUp();
    const asked = [1, 2].map((seed) => ({ ids_T: IDS, seed }));
    await expect(client.generate(asked, SAMPLING, 2)[Symbol.asyncIterator]().next()).rejects.toThrow(TeacherRefused);
    await left;
  });

  it('sends nothing when told to stop before', async () => {
    await expect(score(client, AbortSignal.abort())).rejects.toThrow(Aborted);
    expect(fake.received).toHaveLength(0);
  });

  it('stops while it waits to try again', async () => {
    const stop = new AbortController();
    time = Object.assign(new FakeTime(), {
      wait: () => {
        stop.abort();
        return Promise.reject(new Error('aborted'));
      },
    });
    const stoppable = connect();
    fake.next(COMPLETIONS, failing(503));
    await expect(score(stoppable, stop.signal)).rejects.toThrow(Aborted);
    await stoppable.close();
    expect(fake.received).toHaveLength(1);
  });

  it('gives up on an answer that does not begin in the time its work may take, without asking again', async () => {
    const impatient = connect({ answerMs: 10, answerMsPerToken: 1 });
    fake.next(COMPLETIONS, { kind: 'hang' });
    const error = await failure(impatient);
    await impatient.close();
    expect(error).toBeInstanceOf(TeacherUnavailable);
    expect(String(error)).toMatch(/did not answer within 13 ms/);
    expect(fake.received).toHaveLength(1);
  });

  it('gives up on an answer that is never silent but never ends, without asking again', async () => {
    const impatient = connect({ silenceMs: 100, slowestBytesPerMs: 2 ** 30 });
    fake.next(COMPLETIONS, { kind: 'drip' });
    const left = fake.hangUp();
    const error = await failure(impatient);
    await left;
    await impatient.close();
    expect(error).toBeInstanceOf(TeacherUnavailable);
    expect(String(error)).toMatch(/did not end its answer within 101 ms/);
    expect(fake.received).toHaveLength(1);
  });

  it.each([
    { name: 'a refusal', path: COMPLETIONS, behaviour: failing(400, { 'x-upstream': 'secret' }, '{"error":{"message":"secret"}}'), says: /answered 400$/ },
    { name: 'a wrong key', path: COMPLETIONS, behaviour: failing(401, {}, 'secret'), says: /answered 401\. Set api_key_env/ },
    { name: 'a web page', path: COMPLETIONS, behaviour: { kind: 'text', text: 'secret' } as const, says: /is not JSON\. Is base_url/ },
    { name: 'a packed body', path: COMPLETIONS, behaviour: failing(200, { 'content-encoding': 'secret' }), says: /with a packed body, though/ },
    { name: 'too few ids', path: COMPLETIONS, behaviour: failing(400, {}, '{"error":{"message":"secret","param":"prompt_logprobs"}}'), says: /fewer than 4 ids a position; start it/ },
    { name: 'other models', path: '/v1/models', behaviour: { kind: 'text', text: '{"data":[{"id":"secret"}]}' } as const, says: /does not serve fake$/ },
    { name: 'a queue that is full', path: COMPLETIONS, behaviour: failing(429, {}, '{"error":{"message":"secret"}}'), says: /is not available: POST .* answered 429\. Check/ },
  ])('repeats nothing the server said where that is withheld: $name', async ({ path, behaviour, says }) => {
    const silent = new VllmTeacherClient({ baseUrl: fake.baseUrl, model: 'fake', vocabSize: FAKE_VOCAB, timing: time, replies: 'withheld' });
    fake.next(path, behaviour);
    const error = await silent.probe(4).catch((thrown: unknown) => thrown);
    await silent.close();
    expect(String(error)).toMatch(says);
    expect(String(error)).not.toContain('secret');
  });

  it('says at once that it does not trust a certificate', async () => {
    const secure = createTlsServer({ cert: TEST_CERTIFICATE, key: TEST_CERTIFICATE_KEY }).listen(0, '127.0.0.1');
    await once(secure, 'listening');
    const address = secure.address();
    const doubtful = connect({}, `https://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`);
    const error = await failure(doubtful);
    await doubtful.close();
    secure.close();
    expect(error).toBeInstanceOf(TeacherRefused);
    expect(String(error)).toMatch(/no safe connection to https:.*DEPTH_ZERO_SELF_SIGNED_CERT/);
    expect(time.waits).toEqual([]);
  });

  it('says at once that a teacher is down, and where it looked', async () => {
    const free = createServer().listen(0, '127.0.0.1');
    await once(free, 'listening');
    const address = free.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    free.close();
    await once(free, 'close');
    const lost = connect({}, `http://127.0.0.1:${port}`);
    const error = await lost.probe(4).catch((thrown: unknown) => thrown);
    await lost.close();
    expect(error).toBeInstanceOf(TeacherUnavailable);
    expect(String(error)).toMatch(new RegExp(`teacher at http://127.0.0.1:${port} is not available: .*ECONNREFUSED`));
    expect(time.waits).toEqual([]);
  });

  it('says which models are served when its own is not', async () => {
    fake.next('/v1/models', { kind: 'text', text: '{"data":[{"id":"a","max_model_len":8},{"id":"b"}]}' });
    await expect(client.probe(4)).rejects.toThrow(/does not serve fake; it serves a, b/);
  });

  it('says how the teacher must be started when it grants fewer ids', async () => {
    fake.next(COMPLETIONS, failing(400, {}, '{"error":{"message":"Requested prompt logprobs of 64, which is greater than max allowed: 20","param":"prompt_logprobs","code":400}}'));
    const error = await client.probe(64).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(TeacherRefused);
    expect(String(error)).toMatch(/fewer than 64 ids a position \(Requested prompt logprobs of 64.*--max-logprobs 64/);
  });

  it('takes the length of an adapter from its parent, and refuses a card without one', async () => {
    fake.next('/v1/models', { kind: 'text', text: '{"data":[{"id":"base","max_model_len":99},{"id":"fake","parent":"base","max_model_len":null}]}' });
    expect((await client.probe(4)).maxLength).toBe(99);
    fake.next('/v1/models', { kind: 'text', text: '{"data":[{"id":"fake"}]}' });
    await expect(client.probe(4)).rejects.toThrow(/does not say max_model_len/);
  });
});
