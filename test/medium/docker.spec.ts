import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { parse } from 'yaml';
import { databaseUrlFromEnvironment } from '../../src/config/up-settings.js';
import { apiSettingsFromEnvironment, workerSettingsFromEnvironment } from '../../src/config/service-settings.js';

const root = join(import.meta.dirname, '..', '..');
const composeText = readFileSync(join(root, 'docker', 'compose.yaml'), 'utf8');
const dockerfile = readFileSync(join(root, 'docker', 'Dockerfile'), 'utf8');

interface Service {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string; readonly target: string };
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly networks: readonly string[];
  readonly restart: string;
  readonly init?: boolean;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test: readonly string[] };
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<Record<string, { readonly internal?: boolean } | null>>;
  readonly volumes: Readonly<Record<string, null>>;
}

const compose = parse(composeText, { merge: true }) as Compose;
const SECRETS: Readonly<Record<string, string>> = {
  POSTGRES_PASSWORD: 'a1', OWNER_DATABASE_PASSWORD: 'b2', NODE_DATABASE_PASSWORD: 'c3', REDIS_PASSWORD: 'd4', MASTER_KEY: '5e'.repeat(32),
};

/** As Compose does: `${NAME:?message}` and `${NAME:-default}`. */
function substituted(text: string): string {
  return text.replace(/\$\{([A-Z_]+):([?-])([^}]*)\}/g, (_, name: string, kind: string, rest: string) => (kind === '?' ? SECRETS[name] : rest));
}

function stubEnvironmentOf(service: string): void {
  for (const [name, value] of Object.entries(compose.services[service].environment ?? {})) vi.stubEnv(name, substituted(value));
}

describe('docker/compose.yaml', () => {
  afterEach(() => vi.unstubAllEnvs());

  it('publishes the API alone, and on the loopback', () => {
    const published = Object.entries(compose.services).flatMap(([name, { ports = [] }]) => ports.map((port) => [name, substituted(port)]));
    expect(published).toEqual([['api', '127.0.0.1:8080:8080']]);
    expect(compose.networks.data).toEqual({ internal: true });
    expect([compose.services.postgres.networks, compose.services.redis.networks]).toEqual([['data'], ['data']]);
  });

  it('checks the health of every service that does not just run once', () => {
    const unchecked = Object.entries(compose.services).filter(([, { healthcheck }]) => !healthcheck);
    expect(unchecked.map(([name, { restart }]) => [name, restart])).toEqual([['migrate', 'no']]);
  });

  it('starts what needs something after it', () => {
    const after = { migrate: { condition: 'service_completed_successfully' }, postgres: { condition: 'service_healthy' }, redis: { condition: 'service_healthy' } };
    expect(compose.services.api.depends_on).toEqual(after);
    expect(compose.services.worker.depends_on).toEqual(after);
    expect(compose.services.migrate.depends_on).toEqual({ postgres: { condition: 'service_healthy' } });
  });

  it('holds no secret, and starts nothing while one is missing', () => {
    const named = [...composeText.matchAll(/\$\{([A-Z_]*(?:PASSWORD|KEY))(.)(.)/g)];
    expect(new Set(named.map(([, name]) => name))).toEqual(new Set(Object.keys(SECRETS)));
    expect(named.filter(([, , colon, mark]) => colon + mark !== ':?')).toEqual([]);
    const literal = Object.entries(compose.services).flatMap(([service, { environment = {} }]) =>
      Object.entries(environment).filter(([name, value]) => /PASSWORD|KEY|URL/.test(name) && !value.includes('${')).map(([name]) => `${service}.${name}`),
    );
    expect(literal).toEqual([]);
  });

  it('gives API, worker and migration settings that they start with', () => {
    stubEnvironmentOf('api');
    expect(apiSettingsFromEnvironment()).toMatchObject({ databaseUrl: 'postgres://limbeck:b2@postgres:5432/limbeck', redisUrl: 'redis://:d4@redis:6379', host: '0.0.0.0', port: 8080, behindTls: true, allowedTeachers: [] });
    vi.unstubAllEnvs();
    stubEnvironmentOf('worker');
    expect(workerSettingsFromEnvironment()).toMatchObject({ databaseUrl: 'postgres://limbeck_node:c3@postgres:5432/limbeck', storeDir: '/var/lib/limbeck', probePort: 8081 });
    vi.unstubAllEnvs();
    stubEnvironmentOf('migrate');
    expect(databaseUrlFromEnvironment()).toBe('postgres://limbeck:b2@postgres:5432/limbeck');
  });

  it('keeps what must last in named volumes', () => {
    const named = Object.values(compose.services).flatMap(({ volumes = [] }) => volumes.filter((volume) => !volume.startsWith('.')).map((volume) => volume.split(':')[0]));
    expect(new Set(named)).toEqual(new Set(Object.keys(compose.volumes)));
    expect(existsSync(join(root, 'docker', 'postgres-roles.sh'))).toBe(true);
  });

  it('lets an init process reap children and pass on signals', () => {
    expect(['api', 'worker', 'migrate', 'redis'].map((name) => compose.services[name].init)).toEqual([true, true, true, true]);
  });

  it('builds the stages that the Dockerfile has', () => {
    const stages = [...dockerfile.matchAll(/^FROM \S+ AS (\S+)$/gm)].map(([, name]) => name);
    const built = Object.values(compose.services).flatMap(({ build }) => (build ? [build.target] : []));
    expect(stages).toEqual(['build', 'runtime', 'api', 'worker']);
    expect(built).toEqual(['api', 'worker']);
  });
});

describe('docker/Dockerfile', () => {
  const stage = (name: string): string => dockerfile.split(/^(?=FROM )/m).find((text) => new RegExp(`^FROM \\S+ AS ${name}\\n`).test(text)) ?? '';

  it('runs the processes as a user without rights, and leaves the compiler behind', () => {
    for (const name of ['api', 'worker']) {
      expect(stage(name)).toMatch(/^USER 10001:10001$/m);
      expect(stage(name)).toMatch(/^HEALTHCHECK /m);
    }
    expect(stage('runtime') + stage('api') + stage('worker')).not.toMatch(/g\+\+|libdnnl-dev|npm /);
  });

  it('copies files that are there, and starts entries that are', () => {
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, paths]) => paths.split(' '));
    expect(copied.filter((path) => !existsSync(join(root, path)))).toEqual([]);
    const entries = [...(dockerfile + composeText).matchAll(/dist\/(src\/main\.\w+)\.js/g)].map(([, path]) => `${path}.ts`);
    expect(new Set(entries)).toEqual(new Set(['src/main.api.ts', 'src/main.worker.ts', 'src/main.cli.ts']));
    expect(entries.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  it('sends only what it copies to the builder', () => {
    const ignored = readFileSync(join(root, 'docker', 'Dockerfile.dockerignore'), 'utf8').split('\n');
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, paths]) => paths.split(' '));
    expect(ignored[1]).toBe('*');
    expect(copied.filter((path) => !ignored.includes(`!${path}`))).toEqual([]);
  });
});
