import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { upSettingsFromEnvironment } from './up-settings.js';

beforeEach(() => {
  for (const name of Object.keys(process.env).filter((each) => each.startsWith('LIMBECK_'))) vi.stubEnv(name, undefined);
});
afterEach(() => vi.unstubAllEnvs());

it('hands each variable to the processes that know it', () => {
  vi.stubEnv('LIMBECK_ALLOWED_TEACHERS', 'http://127.0.0.1:8000, 10.0.0.0/8:8000');
  vi.stubEnv('LIMBECK_SHUTDOWN_MS', '700');
  vi.stubEnv('LIMBECK_LEASE_MS', '800');
  vi.stubEnv('LIMBECK_START_MS', '900');
  const { supervisor, api, worker } = upSettingsFromEnvironment();
  expect(supervisor).toMatchObject({ startMs: 900, stopMs: 30_000 });
  expect(supervisor.databaseUrl).toBeUndefined();
  expect(api).toMatchObject({ allowedTeachers: 'http://127.0.0.1:8000,10.0.0.0/8:8000', shutdownMs: 700, port: 8080, drainMs: 0 });
  expect(worker).toMatchObject({ allowedTeachers: 'http://127.0.0.1:8000,10.0.0.0/8:8000', shutdownMs: 700, leaseMs: 800 });
  expect(api).not.toHaveProperty('leaseMs');
  expect(worker).not.toHaveProperty('startMs');
});

it('keeps the defaults in which API and worker differ apart', () => {
  const { api, worker } = upSettingsFromEnvironment();
  expect([api.shutdownMs, worker.shutdownMs]).toEqual([15_000, 25_000]);
});

it('refuses a variable that none knows, and one that is malformed', () => {
  vi.stubEnv('LIMBECK_LEASE', '1');
  expect(() => upSettingsFromEnvironment()).toThrow('LIMBECK_LEASE is not a setting');
  vi.stubEnv('LIMBECK_LEASE', undefined);
  vi.stubEnv('LIMBECK_REDIS_URL', 'http://127.0.0.1');
  expect(() => upSettingsFromEnvironment()).toThrow('LIMBECK_REDIS_URL: redis://:password@host:port');
});
