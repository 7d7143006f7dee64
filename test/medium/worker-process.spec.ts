import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { serviceEnvironment, type WorkerSettingsInput } from '../../src/config/service-settings.js';
import type { Job } from '../../src/runs/runs.schema.js';
import { compiled } from '../support/compiled.js';
import { getJson } from '../support/http-json.js';
import { engineChildren, isAlive } from '../support/limbeck-process.js';
import { TinyService } from '../support/tiny-service.js';

interface WorkerProcess {
  readonly child: ChildProcess;
  readonly probes: string;
}

let service: TinyService;
let entry: string;
let undisturbed: string;
const children: ChildProcess[] = [];
const LEASE_MS = 3_000;

beforeAll(async () => {
  entry = await compiled('src/main.worker.ts');
  service = await TinyService.start();
  await service.startWorker();
  const id = await service.submit();
  await service.until(id, ({ status }) => status === 'succeeded');
  undisturbed = await service.studentSha256(id);
  await service.stopWorkers();
});
afterAll(() => service.close());
afterEach(async () => {
  for (const child of children) child.kill('SIGCONT');
  await Promise.all(children.splice(0).map((child) => end(child, 'SIGTERM')));
});

/** Starts a worker in a process of its own, its engines in theirs. */
async function launch(change: Partial<WorkerSettingsInput> = {}): Promise<WorkerProcess> {
  const environment = serviceEnvironment(service.workerSettings({ leaseMs: LEASE_MS, ...change }));
  const child = fork(entry, [], { env: { PATH: process.env.PATH, ...environment }, stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: ['--enable-source-maps'] });
  children.push(child);
  const [{ ready, probePort }] = (await once(child, 'message')) as [{ ready: boolean; probePort: number }];
  expect(ready).toBe(true);
  return { child, probes: `http://127.0.0.1:${probePort}/health` };
}

/** @returns the exit code, or null for a process that a signal ended. */
async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const gone = once(child, 'exit');
  child.kill(signal);
  return ((await gone) as [number | null])[0];
}

const inDistill = (steps: number) => (job: Job): boolean => (job.status_details.stages.find(({ name }) => name === 'distill')?.progress?.done ?? 0) >= steps;
const stage = async (id: string, name: string) => (await service.database.query<{ status: string; epoch: number }>('select status, epoch from stages where run_id = $1 and name = $2', [id, name]))[0];

const firstSteps = async (id: string): Promise<number[]> => {
  const rows = await service.database.query<{ first: number }>(`select (data->>'first_step')::int as first from events where run_id = $1 and type = 'checkpoint.loaded' order by seq`, [id]);
  return rows.map(({ first }) => first);
};

describe('a worker process', () => {
  it('answers its probes, and on SIGTERM gives its stage back and says that it stopped', async () => {
    const { child, probes } = await launch();
    expect((await getJson(`${probes}/live`)).json).toEqual({ live: true });
    expect((await getJson(`${probes}/ready`)).json).toEqual({ ready: true, parts: { process: 'ok', database: 'ok' } });
    const id = await service.submit({ distill: { epochs: 200, loss_tokens_per_step: 50, learning_rate: 1e-2, loss: { kind: 'forward_kl' } } });
    await service.until(id, inDistill(2));

    expect(await end(child, 'SIGTERM')).toBe(0);

    expect(await stage(id, 'distill')).toEqual({ status: 'waiting', epoch: 1 });
    const [{ running }] = await service.database.query<{ running: number }>(`select count(*)::int as running from nodes where stopped_at is null`);
    expect(running).toBe(0);
    await service.post(`/${id}/cancel`);
  });

  it('saves at its step boundary before it gives a stage back, so that another goes on behind it', async () => {
    const { child } = await launch();
    const id = await service.submit({ checkpoint_every: { steps: 1_000 } });
    await service.until(id, inDistill(2));

    expect(await end(child, 'SIGTERM')).toBe(0);
    const given = await stage(id, 'distill');
    await launch();
    await service.until(id, ({ status }) => status === 'succeeded');

    expect(given).toEqual({ status: 'waiting', epoch: 1 });
    expect(await firstSteps(id)).toEqual([expect.toSatisfy((first: number) => first > 2)]);
    expect(await service.studentSha256(id)).toBe(undisturbed);
  });

  it.each<[string, Partial<WorkerSettingsInput>, number]>([
    ['at a second SIGTERM', { shutdownMs: 600_000 }, 2],
    ['when its budget is over', { shutdownMs: 300 }, 1],
  ])('gives a stage back unsaved %s, and says so by its exit status', async (_, change, signals) => {
    const { child, probes } = await launch(change);
    const id = await service.submit();
    await service.until(id, inDistill(3));
    const [engine] = await engineChildren(child.pid ?? 0);
    process.kill(engine, 'SIGSTOP'); // no step boundary will ever come

    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    if (signals === 2) {
      const isDraining = async (): Promise<boolean> => (await getJson<{ parts: { process: string } }>(`${probes}/ready`)).json.parts.process === 'draining';
      await expect.poll(isDraining, { timeout: 30_000, interval: 20 }).toBe(true); // two signals at once would be one
      child.kill('SIGTERM');
    }
    expect(((await gone) as [number | null])[0]).toBe(75);
    expect(await stage(id, 'distill')).toEqual({ status: 'waiting', epoch: 1 });
    await launch();
    await service.until(id, ({ status }) => status === 'succeeded');

    expect(await service.studentSha256(id)).toBe(undisturbed);
    expect(isAlive(engine)).toBe(false);
  });

  it('ends when whoever started it is gone', async () => {
    const { child } = await launch();
    const gone = once(child, 'exit');

    child.disconnect();

    expect(((await gone) as [number])[0]).toBe(0);
  });

  it('killed at work is replaced by another, and the job ends with the same bits', async () => {
    const { child } = await launch();
    const id = await service.submit({ export: ['safetensors', 'onnx'] });
    await service.until(id, inDistill(3));

    await end(child, 'SIGKILL');
    await launch();
    await service.until(id, ({ status }) => status === 'succeeded');

    expect(await service.studentSha256(id)).toBe(undisturbed);
    expect((await stage(id, 'distill')).epoch).toBe(2);
    expect(await engineChildren(child.pid ?? 0)).toEqual([]);
  });

  it('frozen past its lease is replaced, its engine dead before, and writes nothing when it wakes', async () => {
    const { child, probes } = await launch();
    const id = await service.submit();
    await service.until(id, inDistill(2));
    const engines = await engineChildren(child.pid ?? 0);
    child.kill('SIGSTOP');
    await launch({ device: `test-${process.pid}-2` });
    await expect.poll(() => engines.filter(isAlive), { timeout: LEASE_MS, interval: 20 }).toEqual([]);
    await service.until(id, ({ status }) => status === 'succeeded');
    const before = await service.database.query('select run_files::text from run_files where run_id = $1 order by 1', [id]);

    child.kill('SIGCONT');
    expect(await (await fetch(probes.replace('/health', '/metrics'))).text()).toMatch(/^limbeck_fenced_writes_total \d+$/m);
    expect(await end(child, 'SIGTERM')).toBe(0);

    expect(await service.database.query('select run_files::text from run_files where run_id = $1 order by 1', [id])).toEqual(before);
    expect(await service.studentSha256(id)).toBe(undisturbed);
    expect((await service.job(id)).status).toBe('succeeded');
  });

  it('refuses to start with a setting that is none, naming it', async () => {
    const child = fork(entry, [], { env: { LIMBECK_SPEED: '9' }, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    let words = '';
    child.stderr?.on('data', (chunk: Buffer) => (words += chunk.toString('utf8')));

    expect(((await once(child, 'close')) as [number])[0]).toBe(1);

    expect(words).toMatch(/config[.]settings_invalid: .*LIMBECK_SPEED is not a setting/);
  });
});
