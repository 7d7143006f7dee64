import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { expect } from 'vitest';
import { readEvents } from '../../src/cli/event-stream.js';
import { serviceEnvironment } from '../../src/config/service-settings.js';
import { ApiReplica } from '../support/api-replica.js';
import { COLLECTS, collected } from '../support/collected/collected.js';
import { compiled } from '../support/compiled.js';
import { openHandles, processesOf, rssKib } from '../support/process-figures.js';
import { getJson, postJson } from '../support/http-json.js';
import { TinyService } from '../support/tiny-service.js';

const JOBS = '/v1/fine_tuning/jobs';
/** Every stage, and as little of each as there is. */
const LITTLE = {
  collect: { max_tokens: 4 },
  distill: { epochs: 1, loss_tokens_per_step: 10_000, learning_rate: 1e-3 },
  align: { steps: 1, prompts_per_step: 1, max_tokens: 4, learning_rate: 1e-3 },
  evaluate: { prompts: 1, max_tokens: 4 },
};

/** What the processes of the service hold once a run is over and their garbage is collected: V8 lets garbage stand for dozens of runs, and the slope would be that of the garbage. */
export interface SoakSample {
  readonly apiKib: number;
  readonly workerKib: number;
  readonly apiHandles: number;
  readonly workerHandles: number;
  /** Of the service to Postgres. */
  readonly connections: number;
  /** Engines. */
  readonly engines: number;
}

/** The processes that are watched. */
interface Watched {
  readonly service: TinyService;
  readonly api: ApiReplica;
  readonly worker: ChildProcess;
  readonly engineEntry: string;
}

/** Takes runs one after the other through an API and a worker of their own, and looks at both after each. */
export async function soak(runs: number): Promise<SoakSample[]> {
  const service = await TinyService.start();
  const api = await ApiReplica.start(service.apiSettings(), COLLECTS);
  const worker = await startWorker(service);
  const engineEntry = await compiled('src/main.engine.ts');
  const samples: SoakSample[] = [];
  for (let run = 0; run < runs; run++) {
    await oneRun(service, api);
    samples.push(await look({ service, api, worker, engineEntry }));
  }
  await Promise.all([api.kill(), ended(worker)]);
  await service.close();
  return samples;
}

/** Submits a run, follows it to its end and reads what it left. */
async function oneRun(service: TinyService, api: ApiReplica): Promise<void> {
  const { headers } = service;
  const { json } = await postJson<{ id: string }>(`${api.url}${JOBS}`, service.submission(LITTLE), { headers });
  const stream = await fetch(`${api.url}${JOBS}/${json.id}/stream`, { headers });
  for await (const { event, data } of readEvents(stream.body as unknown as AsyncIterable<Uint8Array>)) {
    if (event === 'done') expect(JSON.parse(data)).toEqual({ status: 'succeeded' });
  }
  for (const path of ['', `/${json.id}`, `/${json.id}/metrics`, `/${json.id}/events`]) await getJson(`${api.url}${JOBS}${path}`, headers);
}

async function look({ service, api, worker, engineEntry }: Watched): Promise<SoakSample> {
  await expect.poll(() => processesOf(engineEntry), { timeout: 30_000, interval: 20 }).toBe(0); // the last stage's ends a moment after its run
  await Promise.all([collected(api.process), collected(worker)]);
  const [apiPid, workerPid] = [api.process.pid ?? 0, worker.pid ?? 0];
  const [{ connections }] = await service.database.query<{ connections: number }>(`select count(*)::int as connections from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`);
  return {
    apiKib: await rssKib(apiPid),
    workerKib: await rssKib(workerPid),
    apiHandles: await openHandles(apiPid),
    workerHandles: await openHandles(workerPid),
    connections,
    engines: await processesOf(engineEntry),
  };
}

async function startWorker(service: TinyService): Promise<ChildProcess> {
  const environment = { PATH: process.env.PATH, ...serviceEnvironment(service.workerSettings()) };
  const worker = fork(await compiled('src/main.worker.ts'), [], { env: environment, stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [...COLLECTS] });
  await once(worker, 'message');
  return worker;
}

async function ended(worker: ChildProcess): Promise<void> {
  const gone = once(worker, 'exit');
  worker.kill('SIGTERM');
  await gone;
}
