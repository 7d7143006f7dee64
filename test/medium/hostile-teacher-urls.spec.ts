import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { request } from 'undici';
import type { Dialling } from '../../src/http/egress-connector.js';
import { EgressPolicy } from '../../src/http/egress-policy.js';
import { EgressRefused, type EgressRule } from '../../src/http/egress.errors.js';
import { TeacherRefused } from '../../src/teacher-clients/teacher-client.js';
import { VllmTeacherClient } from '../../src/teacher-clients/vllm/vllm-teacher-client.js';
import { probeTeacher } from '../../src/teachers/teacher-probe.js';
import { Canary } from '../support/canary.js';
import { ALLOWED, P, RESOLVED, WRITTEN } from '../support/hostile-urls.js';

const REDIRECTS = [301, 302, 303, 307, 308];
const PROXY_VARIABLES = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY', 'NODE_USE_ENV_PROXY'];

describe('a hostile teacher URL', () => {
  let canary: Canary;
  /** A listed teacher, which answers with `reply`. */
  let teacher: Server;
  let reply: { readonly status: number; readonly location?: string };
  const received: IncomingMessage[] = [];

  const withPort = (text: string): string => text.replaceAll(P, String(canary.port));
  const policyWith = (dialling: Partial<Dialling>): EgressPolicy => new EgressPolicy(ALLOWED.map(withPort), dialling);
  const originOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  beforeAll(async () => {
    canary = await Canary.start();
    teacher = createServer((asked, response) => {
      received.push(asked);
      response.writeHead(reply.status, reply.location === undefined ? {} : { location: reply.location }).end('{"data":[{"id":"m"}]}');
    }).listen(0, '127.0.0.1');
    await once(teacher, 'listening');
  });

  afterEach(() => expect(canary.connections).toBe(0));

  afterAll(async () => {
    teacher.closeAllConnections();
    teacher.close();
    console.log(`hostile teacher URLs: ${WRITTEN.length} as written, ${RESOLVED.length} as resolved, ${REDIRECTS.length} redirects, re-resolution, peer, other origin, proxy: ${canary.connections} connections to the canary`);
    await canary.close();
  });

  /** As the service does: check, then dial. */
  const dial = async (policy: EgressPolicy, url: string): Promise<unknown> => {
    try {
      const dispatcher = policy.dispatcher(url);
      const answer = await request(`${url}/v1/models`, { dispatcher }).finally(() => dispatcher.destroy());
      return answer.statusCode;
    } catch (error) {
      return error;
    }
  };
  const expectRefused = (outcome: unknown, rule: EgressRule): void => {
    expect(outcome).toBeInstanceOf(EgressRefused);
    expect(outcome).toMatchObject({ code: 'egress.refused', kind: 'invalid', rule });
    expect(String(outcome)).toContain(`(rule ${rule})`);
  };

  it.each(WRITTEN)('is refused for what it says: %s', async (_, url, rule) => {
    expectRefused(await dial(policyWith({ resolve: () => Promise.resolve(['127.0.0.1']) }), withPort(url)), rule);
  });

  it.each(RESOLVED)('is refused for where it leads: %s', async (_, url, answers, rule) => {
    const policy = policyWith({ resolve: () => Promise.resolve(answers) });
    expectRefused(await dial(policy, withPort(url)), rule);
    expectRefused(await policy.checkResolved(withPort(url)).catch((error: unknown) => error), rule);
  });

  it('is refused when its name leads elsewhere at the second dial', async () => {
    const answers = [['10.0.0.1'], ['10.0.0.1'], ['127.0.0.1']];
    const dialled: string[] = [];
    const policy = policyWith({
      resolve: () => Promise.resolve(answers.shift() ?? []),
      connect: ({ hostname }, callback) => {
        dialled.push(hostname);
        callback(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }), null);
      },
    });
    const url = withPort(`http://rebound.example:${P}`);
    await policy.checkResolved(url);
    const dispatcher = policy.dispatcher(url);
    const ask = (): Promise<unknown> => request(url, { dispatcher }).catch((error: unknown) => error);
    expect(await ask()).toMatchObject({ code: 'ECONNREFUSED' });
    expectRefused(await ask(), 'special_address');
    expect(dialled).toEqual(['10.0.0.1']);
    await dispatcher.destroy();
  });

  it('is refused when the socket is connected to another address than the one that was judged', async () => {
    reply = { status: 200 };
    received.length = 0;
    const { port } = teacher.address() as AddressInfo;
    const policy = policyWith({
      connect: (_, callback) => {
        const socket = connect(port, '127.0.0.1', () => callback(null, socket));
      },
    });
    expectRefused(await dial(policy, withPort(`http://10.0.0.1:${P}`)), 'peer');
    expect(received).toEqual([]);
  });

  it.each(REDIRECTS)('is not reached through a %i of a listed teacher, by neither client', async (status) => {
    reply = { status, location: `http://127.0.0.1:${canary.port}/v1/models` };
    const baseUrl = originOf(teacher);
    const policy = new EgressPolicy([baseUrl]);
    const client = new VllmTeacherClient({ baseUrl, model: 'm', vocabSize: 8, apiKey: 'secret', dispatcher: policy.dispatcher(baseUrl) });
    const outcome = await client.probe(1).catch((error: unknown) => error);
    await client.close();
    expect(outcome).toBeInstanceOf(TeacherRefused);
    expect(String(outcome)).toContain('Redirects are not followed');
    const dispatcher = policy.dispatcher(baseUrl);
    expect(await probeTeacher({ baseUrl, model: 'm', apiKey: 'secret', dispatcher, withinMs: 60_000 })).toEqual({ status: 'refused', http_status: status, reason: 'redirect' });
    await dispatcher.destroy();
  });

  it('is not reached through a dispatcher that was made for a listed teacher', async () => {
    const policy = new EgressPolicy([originOf(teacher), `http://127.0.0.1:${canary.port}`]);
    const dispatcher = policy.dispatcher(originOf(teacher));
    expectRefused(await request(`http://127.0.0.1:${canary.port}/`, { dispatcher }).catch((error: unknown) => error), 'other_origin');
    await dispatcher.destroy();
  });

  it('is not reached through the proxy that the environment names', async () => {
    reply = { status: 200 };
    const before = PROXY_VARIABLES.map((name) => [name, process.env[name]] as const);
    PROXY_VARIABLES.forEach((name) => (process.env[name] = name === 'NODE_USE_ENV_PROXY' ? '1' : `http://127.0.0.1:${canary.port}`));
    try {
      expect(await dial(new EgressPolicy([originOf(teacher)]), originOf(teacher))).toBe(200);
    } finally {
      before.forEach(([name, value]) => (value === undefined ? delete process.env[name] : (process.env[name] = value)));
    }
  });

  it('would have been counted', async () => {
    const watched = await Canary.start();
    const socket = connect(watched.port, '127.0.0.1');
    await once(socket, 'close');
    expect(watched.connections).toBe(1);
    await watched.close();
    expect(WRITTEN.length + RESOLVED.length).toBeGreaterThanOrEqual(60);
  });
});
