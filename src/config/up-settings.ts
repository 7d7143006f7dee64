import { z } from 'zod';
import { fromEnvironment } from './environment.js';
import { ApiSettings, WorkerSettings, type ApiSettingsInput, type WorkerSettingsInput } from './service-settings.js';

const PREFIX = 'LIMBECK_';
const OTHERS = ['LIMBECK_TEACHER_', 'LIMBECK_DEMO_', 'LIMBECK_CLI_'];
const milliseconds = z.coerce.number().int().min(1).max(86_400_000);

/** Settings of the supervisor itself. */
export const SupervisorSettings = z.strictObject({
  /** Instead of the embedded Postgres; a role that may create tables. */
  databaseUrl: ApiSettings.shape.databaseUrl.optional(),
  /** Instead of the embedded Redis. */
  redisUrl: ApiSettings.shape.redisUrl.optional(),
  /** Instead of the generated key: for a database that another data directory has served. */
  masterKey: ApiSettings.shape.masterKey.optional(),
  /** Instead of `store` in the data directory. */
  storeDir: ApiSettings.shape.storeDir.optional(),
  /** How long each of Postgres, Redis, API and worker may take to serve. */
  startMs: milliseconds.default(60_000),
  /** How long each may take to end before it is killed. */
  stopMs: milliseconds.default(30_000),
  /** Before a process that ended is started again; doubles with each death that comes before it serves, up to 32 times this. */
  restartMs: milliseconds.default(500),
  /** Between looks whether the embedded Postgres and Redis still run. */
  watchMs: milliseconds.default(1_000),
  /** Most connections of the embedded Postgres. */
  postgresConnections: z.coerce.number().int().min(10).max(10_000).default(100),
});
export type SupervisorSettings = z.output<typeof SupervisorSettings>;
export type SupervisorSettingsInput = z.input<typeof SupervisorSettings>;

const given = { databaseUrl: true, redisUrl: true, masterKey: true, storeDir: true } as const;
/** What the supervisor hands on; what it finds out itself is left out. */
// Nothing balances requests in front of this API, so nothing has to learn that it drains.
const HandedToApi = ApiSettings.omit(given).extend({ drainMs: ApiSettings.shape.drainMs.unwrap().default(0) }).strip();
const HandedToWorker = WorkerSettings.omit(given).strip();

export type ApiOverrides = Partial<Omit<ApiSettingsInput, keyof typeof given>>;
export type WorkerOverrides = Partial<Omit<WorkerSettingsInput, keyof typeof given>>;

/** Everything `limbeck up` reads: each variable of the API, of the worker and of the supervisor itself. */
export interface UpSettings {
  readonly supervisor: SupervisorSettings;
  readonly api: ApiOverrides;
  readonly worker: WorkerOverrides;
}

/** @throws SettingsInvalid for a variable that none of the three knows, or that is malformed. */
export function upSettingsFromEnvironment(): UpSettings {
  const source = { prefix: PREFIX, ignored: OTHERS };
  fromEnvironment(z.strictObject({ ...WorkerSettings.shape, ...ApiSettings.shape, ...SupervisorSettings.shape }).partial(), source); // none unknown to all
  return {
    supervisor: fromEnvironment(SupervisorSettings.strip(), source),
    api: asInput(fromEnvironment(HandedToApi, source)),
    worker: asInput(fromEnvironment(HandedToWorker, source)),
  };
}

/** The variables of the machine rather than of Limbeck that a process of the service needs; no secret of the user's is handed on. */
export function machineEnvironment(): Record<string, string> {
  const names = ['PATH', 'HOME', 'TMPDIR', 'TZ'];
  return Object.fromEntries(names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])));
}

// Settings are handed on as text; only the list has another form in it.
function asInput<Settings extends { readonly allowedTeachers: readonly string[] }>(settings: Settings): Omit<Settings, 'allowedTeachers'> & { allowedTeachers: string } {
  return { ...settings, allowedTeachers: settings.allowedTeachers.join(',') };
}

/** The database that `limbeck migrate` works on. @throws SettingsInvalid */
export function databaseUrlFromEnvironment(): string {
  return fromEnvironment(z.object({ databaseUrl: ApiSettings.shape.databaseUrl }), { prefix: PREFIX, ignored: OTHERS }).databaseUrl;
}
