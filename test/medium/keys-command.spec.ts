import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { AuthService } from '../../src/auth/auth.service.js';
import { buildProgram } from '../../src/cli/program.js';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { freshDatabase, type TestDatabase } from '../support/service-servers.js';

const MASTER_KEY = '3c'.repeat(32);

let postgres: TestDatabase;
let database: Database;
let auth: AuthService;

beforeAll(async () => {
  postgres = await freshDatabase();
  database = new Database(await createDataSource({ url: postgres.url, poolSize: 1, statementMs: 30_000, connectMs: 5_000 }).initialize());
  auth = AuthService.over(database, MASTER_KEY);
});
afterAll(async () => {
  await database.onApplicationShutdown();
  await postgres.close();
});
beforeEach(() => {
  vi.stubEnv('LIMBECK_DATABASE_URL', postgres.url);
  vi.stubEnv('LIMBECK_MASTER_KEY', MASTER_KEY);
});
afterEach(() => {
  vi.unstubAllEnvs();
});

async function run(...args: string[]): Promise<string> {
  const lines: string[] = [];
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => lines.push(String(text)) > 0);
  await (await buildProgram('keys')).parseAsync(['keys', ...args], { from: 'user' }).finally(() => write.mockRestore());
  return lines.join('');
}

it('makes the first key without one, lists it without its text, and revokes it', async () => {
  const text = (await run('create', 'night runs', '--scopes', 'jobs:write,files:read', '--expires-in-days', '2')).trim();
  const caller = await auth.callerOf(text);
  expect(caller.scopes).toEqual(['jobs:write', 'files:read']);

  const listed = await run('list');
  expect(listed).toMatch(new RegExp(`^${caller.keyId}  …${text.slice(-4)}  jobs:write,files:read  active until \\d{4}-.*Z  night runs\\n$`));
  expect(listed).not.toContain(text);

  expect(await run('revoke', caller.keyId)).toBe(`${caller.keyId} is revoked\n`);
  await expect(auth.callerOf(text)).rejects.toMatchObject({ code: 'auth.key_revoked' });
  expect(await run('list')).toContain('revoked');
});

it('makes admin keys that never expire unless told otherwise', async () => {
  const caller = await auth.callerOf((await run('create', 'operator')).trim());
  expect(caller.scopes).toEqual(['admin']);
  expect((await auth.list(1))[0]).toMatchObject({ name: 'operator', expires_at: null });
});

it.each([
  [['create', 'x', '--scopes', 'jobs:read,everything'], /"everything"/],
  [['create', 'x', '--expires-in-days', '0'], /--expires-in-days is "0"/],
  [['create', 'a\u001b[2Jb'], /printable/],
])('refuses %j', async (args, message) => {
  await expect(run(...args)).rejects.toMatchObject({ code: 'cli.argument_invalid', message: expect.stringMatching(message) });
});

it('refuses an id that is none', async () => {
  await expect(run('revoke', 'key-none')).rejects.toMatchObject({ code: 'auth.key_unknown' });
});

it('says where it looked when there is no service', async () => {
  vi.stubEnv('LIMBECK_DATABASE_URL', undefined);
  await expect(run('list', '--data', '/nowhere')).rejects.toMatchObject({ code: 'cli.argument_invalid', message: expect.stringContaining('/nowhere') });
});
