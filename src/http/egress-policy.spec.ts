import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createServer as createSocketServer, type AddressInfo } from 'node:net';
import { buildConnector, request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TEST_CERTIFICATE, TEST_CERTIFICATE_KEY } from '../../test/support/test-certificate.js';
import type { Dialling } from './egress-connector.js';
import { EgressPolicy } from './egress-policy.js';
import { EgressListInvalid, EgressRefused, type EgressRule } from './egress.errors.js';

const ALLOWED = ['http://teacher.example:8000', 'https://gateway.example', 'http://127.0.0.1:8000', 'http://[::1]:8000', '10.0.0.0/8:8000', '[fd00::]/8:8000', '169.254.7.0/24:8000'];

describe('the outbound policy admits', () => {
  const policy = new EgressPolicy(ALLOWED);

  it.each([
    ['http://teacher.example:8000', { origin: 'http://teacher.example:8000', host: 'teacher.example', port: 8000, path: '' }],
    ['http://teacher.example:8000/', { path: '' }],
    ['http://teacher.example:8000/team-a/v1/', { path: '/team-a/v1' }],
    ['https://gateway.example', { origin: 'https://gateway.example:443', port: 443 }],
    ['https://gateway.example:443/v1', { origin: 'https://gateway.example:443', path: '/v1' }],
    ['http://127.0.0.1:8000', { host: '127.0.0.1' }],
    ['http://[::1]:8000', { host: '::1' }],
    ['http://10.9.8.7:8000', { host: '10.9.8.7' }],
    ['https://10.9.8.7:8000', { origin: 'https://10.9.8.7:8000' }],
    ['http://[fd12::1]:8000', { host: 'fd12::1' }],
    ['http://[::ffff:a09:807]:8000', { host: '::ffff:a09:807' }],
    ['http://169.254.7.1:8000', { host: '169.254.7.1' }],
    ['http://any-name.example:8000', { host: 'any-name.example' }],
  ])('%s', (url, parts) => {
    expect(policy.check(url)).toMatchObject(parts);
  });

  it('nothing where nothing is listed', () => {
    expect(() => new EgressPolicy([]).check('http://teacher.example:8000')).toThrow(EgressRefused);
    expect(() => new EgressPolicy([]).check('http://10.0.0.1:8000')).toThrow(/rule not_listed/);
  });

  it('a name that does not resolve now, for every dial judges again', async () => {
    const unknown = new EgressPolicy(ALLOWED, { resolve: () => Promise.reject(new Error('getaddrinfo EAI_AGAIN')) });
    expect((await unknown.checkResolved('http://any-name.example:8000')).host).toBe('any-name.example');
  });

  it('says which field of the request held the address', () => {
    const refused = new EgressRefused('scheme', 'that').at('base_url');
    expect([refused.param, refused.rule, refused.message]).toEqual(['base_url', 'scheme', 'the outbound policy refuses that (rule scheme)']);
  });
});

describe('the allow-list refuses', () => {
  it.each([
    ['teacher.example:8000', /neither an origin nor a block/],
    ['http://teacher.example:8000/v1', /has a path/],
    ['ftp://teacher.example', /only http and https/],
    ['http://Teacher.example', /canonical form is http:\/\/teacher.example\//],
    ['http://0.0.0.0:8000', /is a this host address/],
    ['http://169.254.169.254', /is a link-local and cloud metadata address/],
    ['10.0.0.0/8', /neither an origin nor a block/],
    ['10.0.0.1/8:8000', /bits after the prefix must be 0/],
    ['10.0.0.0/8:0', /no port from 1 to 65535/],
    ['10.0.0.0/8:08000', /no port from 1 to 65535/],
    ['fd00::/8:8000', /neither an origin nor a block/],
    ['*', /neither an origin nor a block/],
  ])('%s', (entry, says) => {
    expect(() => new EgressPolicy([entry])).toThrow(EgressListInvalid);
    expect(() => new EgressPolicy([entry])).toThrow(says);
  });
});

describe('a dispatcher of the policy', () => {
  let server: Server;
  let port: number;
  let connections = 0;

  beforeAll(async () => {
    server = createServer((asked, response) => response.end(asked.headers.host)).listen(0, '127.0.0.1');
    server.on('connection', () => connections++);
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  });

  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  const get = async (url: string, allowed: readonly string[], dialling: Partial<Dialling> = {}): Promise<string> => {
    const dispatcher = new EgressPolicy(allowed, dialling).dispatcher(url);
    try {
      return await (await request(url, { dispatcher })).body.text();
    } finally {
      await dispatcher.destroy();
    }
  };
  const answers = (...addresses: string[]): Partial<Dialling> => ({ resolve: () => Promise.resolve(addresses) });

  it('reaches a listed address, and a name by the system\'s name service', async () => {
    expect(await get(`http://127.0.0.1:${port}/x`, [`http://127.0.0.1:${port}`])).toBe(`127.0.0.1:${port}`);
    expect(await get(`http://localhost:${port}/x`, [`http://localhost:${port}`])).toBe(`localhost:${port}`);
  });

  it('reaches a name by a block that holds its address, and names it to the server', async () => {
    expect(await get(`http://teacher.example:${port}/`, [`127.0.0.0/8:${port}`], answers('127.0.0.1'))).toBe(`teacher.example:${port}`);
  });

  it('tries the next address where one does not answer', async () => {
    expect(await get(`http://teacher.example:${port}/`, [`127.0.0.0/8:${port}`], answers('127.0.0.77', '127.0.0.1'))).toBe(`teacher.example:${port}`);
  });

  it('resolves a name again on every dial, and refuses what it became', async () => {
    const found = [['127.0.0.1'], ['127.0.0.1', '10.0.0.1']];
    const before = connections;
    const dispatcher = new EgressPolicy([`127.0.0.0/8:${port}`], { resolve: () => Promise.resolve(found.shift() ?? []) }).dispatcher(`http://teacher.example:${port}`);
    const ask = async (): Promise<unknown> => {
      const { body } = await request(`http://teacher.example:${port}/`, { dispatcher, reset: true });
      return body.text();
    };
    expect(await ask()).toBe(`teacher.example:${port}`);
    await expect(ask()).rejects.toMatchObject({ rule: 'not_listed' satisfies EgressRule });
    await dispatcher.destroy();
    expect(connections - before).toBe(1);
  });

  it('says with the system\'s code that a name is unknown, or was not resolved in time', async () => {
    const allowed = [`http://teacher.example:${port}`];
    await expect(get(`http://teacher.example:${port}/`, allowed, answers())).rejects.toMatchObject({ code: 'ENOTFOUND' });
    const never: Partial<Dialling> = { resolve: () => new Promise(() => undefined), connectMs: 5 };
    await expect(get(`http://teacher.example:${port}/`, allowed, never)).rejects.toMatchObject({ code: 'UND_ERR_CONNECT_TIMEOUT' });
  });

  it('shows a server behind TLS the name, and holds its certificate against the name, though an address is dialled', async () => {
    const secure = createTlsServer({ cert: TEST_CERTIFICATE, key: TEST_CERTIFICATE_KEY }, (asked, response) => response.end(String('servername' in asked.socket && asked.socket.servername))).listen(0, '127.0.0.1');
    await once(secure, 'listening');
    const { port: at } = secure.address() as AddressInfo;
    const trusting = { ...answers('127.0.0.1'), connect: buildConnector({ timeout: 10_000, ca: TEST_CERTIFICATE }) };
    expect(await get(`https://teacher.example:${at}/`, [`127.0.0.0/8:${at}`], trusting)).toBe('teacher.example');
    await expect(get(`https://other.example:${at}/`, [`127.0.0.0/8:${at}`], trusting)).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    await expect(get(`https://teacher.example:${at}/`, [`127.0.0.0/8:${at}`], answers('127.0.0.1'))).rejects.toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
    secure.closeAllConnections();
    secure.close();
  });

  it('says with the system\'s code that nothing listens', async () => {
    const closed = createSocketServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const free = (closed.address() as AddressInfo).port;
    closed.close();
    await once(closed, 'close');
    await expect(get(`http://127.0.0.1:${free}/`, [`http://127.0.0.1:${free}`])).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});
