import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { endpointSettings } from './endpoint-settings.js';
import { fromEnvironment, toEnvironment } from './environment.js';

const milliseconds = (most = 86_400_000) => z.coerce.number().int().min(1).max(most);
const count = z.coerce.number().int().min(1);
const bytes = z.coerce.number().int().min(1024);
const list = z
  .string()
  .default('')
  .transform((text) => text.split(',').map((part) => part.trim()).filter((part) => part !== ''));

/** What API and worker share. Variables are the fields in capitals behind `LIMBECK_`. */
const common = {
  /** `postgres://user:password@host:port/name`. */
  databaseUrl: z.string().regex(/^postgres(ql)?:\/\//, 'postgres://user:password@host:port/name'),
  /** Connections of this process's pool. */
  databasePoolSize: count.default(8),
  /** Longest statement. */
  databaseStatementMs: milliseconds().default(30_000),
  databaseConnectMs: milliseconds().default(5_000),
  /** Between Postgres's looks, while a statement runs or waits, whether this process is still there: what a killed process held is free after that. */
  databaseClientCheckMs: milliseconds().default(1_000),
  /** `redis://:password@host:port`. */
  redisUrl: z.string().regex(/^rediss?:\/\//, 'redis://:password@host:port'),
  /** Prefix of every key in Redis, so that installations can share one. */
  redisPrefix: z.string().regex(/^[a-z0-9-]{1,32}$/).default('limbeck'),
  /** How long a queue operation may take before it is left to the sweep. */
  redisCommandMs: milliseconds().default(2_000),
  /** Directory of models, prompt files and runs; shared between nodes when there are several. */
  storeDir: z.string().min(1),
  /** 32 bytes in hexadecimal: seals teacher keys (AES-256-GCM) and keys the hashes of API keys. */
  masterKey: z.string().regex(/^[0-9a-f]{64}$/, '64 hexadecimal digits'),
  /** Teachers that may be dialled: origins (`http://127.0.0.1:8000`) and CIDRs with a port (`10.0.0.0/8:8000`), comma-separated. Nothing else is. */
  allowedTeachers: list,
  logLevel: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']).default('info'),
};

/** Settings of the API process. */
export const ApiSettings = z.strictObject({
  ...common,
  host: z.string().min(1).default('127.0.0.1'),
  /** 0 takes a free port. */
  port: z.coerce.number().int().min(0).max(65_535).default(8080),
  /** Says that TLS ends in front of this process; without it only a loopback address is listened on, because keys would travel in plain sight. */
  behindTls: z.union([z.boolean(), z.stringbool()]).default(false),
  /** Largest JSON body. */
  maxBodyBytes: bytes.default(2 ** 20),
  /** Largest prompt file, and largest line in it. */
  maxFileBytes: bytes.default(2 ** 31),
  maxLineBytes: bytes.default(2 ** 20),
  /** Largest single file of a pushed model. */
  maxModelFileBytes: bytes.default(2 ** 36),
  /** How long a pushed model may take to be imported and opened. */
  inspectModelMs: milliseconds().default(300_000),
  /** How long an answer is kept for its Idempotency-Key. */
  idempotencyMs: milliseconds().default(86_400_000),
  /** How long a dry run's POST waits for its end. */
  dryRunWaitMs: milliseconds().default(30_000),
  /** How long a probe of a teacher may take. */
  probeTeacherMs: milliseconds().default(10_000),
  /** Silence after which a node no longer counts as ready. */
  nodeSilentMs: milliseconds().default(60_000),
  /** Between looks at Postgres where a notification did not come. */
  streamPollMs: milliseconds().default(2_000),
  /** Comment lines that keep an idle stream open. */
  streamHeartbeatMs: milliseconds().default(15_000),
  /** Between turning not ready and no longer listening, and how long running requests may take then. */
  drainMs: z.coerce.number().int().min(0).default(5_000),
  shutdownMs: milliseconds().default(15_000),
});
export type ApiSettings = z.output<typeof ApiSettings>;
export type ApiSettingsInput = z.input<typeof ApiSettings>;

/** Settings of a worker process. */
export const WorkerSettings = z.strictObject({
  ...common,
  ...endpointSettings,
  /** How the node calls itself; by default the host's name. */
  nodeName: z.string().min(1).max(63).optional(),
  /** A lease lasts this long by the database's clock, is renewed this often. */
  leaseMs: milliseconds().default(60_000),
  renewMs: milliseconds().default(15_000),
  /** Between tries of a write while the database is away. */
  databaseRetryMs: milliseconds().default(1_000),
  /** Between sweeps for stages that no job delivers. */
  sweepMs: milliseconds().default(10_000),
  /** Between heartbeats of the node. */
  heartbeatMs: milliseconds().default(10_000),
  /** Metric points wait at most this long, or until this many are there. */
  metricsFlushMs: milliseconds().default(2_000),
  metricsFlushPoints: z.coerce.number().int().min(1).max(1_000).default(500),
  /** `collect` stages at a time; stages that need the device run one at a time. */
  collectSlots: z.coerce.number().int().min(0).default(4),
  /** Whether this worker takes stages that need a device. */
  deviceSlots: z.coerce.number().int().min(0).max(1).default(1),
  /** A stage whose engine died or hung is tried again at most this often without a new checkpoint. */
  trainerRetries: z.coerce.number().int().min(0).default(3),
  /** Restarts of a run in 24 hours that are borne for each cause that is not its own: lost workers, ended ones, faults of the system around it. */
  restartsPerDay: count.default(20),
  /** A run is in a crash loop after this many dead engines and faults of the system within `crashLoopMs`, */
  crashLoopFailures: count.default(4),
  crashLoopMs: milliseconds().default(600_000),
  /** or after this many dead engines, or lost workers, at the same step with no new checkpoint in between. */
  crashLoopDeaths: count.default(2),
  crashLoopLosses: count.default(4),
  engine: z.enum(['native', 'reference']).default('native'),
  threads: count.default(availableParallelism()),
  /** Name of the device among those of this machine; one engine at a time has it, whatever workers there are. */
  device: z.string().regex(/^[a-z0-9._-]{1,64}$/, '1 to 64 of a-z 0-9 . _ -').default('cpu'),
  /** Port of the probes; 0 takes a free one. */
  probePort: z.coerce.number().int().min(0).max(65_535).default(8081),
  probeHost: z.string().min(1).default('127.0.0.1'),
  /** How long a stopping worker lets its stages reach a step boundary. */
  shutdownMs: milliseconds().default(25_000),
});
export type WorkerSettings = z.output<typeof WorkerSettings>;
export type WorkerSettingsInput = z.input<typeof WorkerSettings>;

const PREFIX = 'LIMBECK_';
/** Prefixes of other processes' variables, which may stand in the same environment. */
const OTHERS = ['LIMBECK_TEACHER_', 'LIMBECK_DEMO_', 'LIMBECK_CLI_'];

/** @throws SettingsInvalid */
export function apiSettingsFromEnvironment(): ApiSettings {
  return fromEnvironment(ApiSettings, { prefix: PREFIX, ignored: OTHERS });
}

/** @throws SettingsInvalid */
export function workerSettingsFromEnvironment(): WorkerSettings {
  return fromEnvironment(WorkerSettings, { prefix: PREFIX, ignored: OTHERS });
}

/** The variables that start an API or a worker with these settings. */
export function serviceEnvironment(settings: ApiSettingsInput | WorkerSettingsInput): Record<string, string> {
  return toEnvironment(settings, PREFIX);
}
