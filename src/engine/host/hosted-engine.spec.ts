import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { compiled } from '../../../test/support/compiled.js';
import { writeTinyModel } from '../../../test/support/tiny-model.js';
import { Aborted } from '../../common/errors.js';
import { BatchInvalid, type PackedBatch } from '../../tokens/batch.js';
import { EngineFailed, type Completion, type SampleRequest } from '../engine.js';
import { ReferenceEngine } from '../reference/reference-engine.js';
import { HostedEngine, type HostOptions } from './hosted-engine.js';
import { isDeviceTaken, reapLeftovers } from './leftovers.js';
import type { EngineOptions } from './protocol.js';

const batch: PackedBatch = {
  tokens_N: Int32Array.of(5, 9, 20, 31, 7, 8),
  cuSeqlens_S1: Int32Array.of(0, 4, 6),
  rows_R: Int32Array.of(1, 2, 4),
  weights_R: Float32Array.of(1, 2, 1),
  labels_R: Int32Array.of(20, 31, 8),
};
const request: SampleRequest = {
  prompts: [{ ids_T: Int32Array.of(5, 9), sample: 0 }, { ids_T: Int32Array.of(7), sample: 1 }],
  sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: 4, stopIds: [] },
  key: { seed: 3, stage: 1, step: 2 },
};
const adam = { learningRate: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, clip: 1 };

let dir: string;
let entry: string;
const engines: HostedEngine[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'limbeck-host-'));
  await writeTinyModel(join(dir, 'model'), { tokenizer: 'none' });
  entry = await compiled('src/main.engine.ts');
});

afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
});

afterAll(() => rm(dir, { recursive: true, force: true }));

async function start(options: Partial<HostOptions> = {}): Promise<HostedEngine> {
  const engine = await HostedEngine.start({ entry, engine: { implementation: 'reference', modelDir: join(dir, 'model'), threads: 1 }, ...options });
  engines.push(engine);
  return engine;
}

// A stand-in for the engine process: answers `open`, then does what `script` says.
async function startScript(script: string, options: Partial<HostOptions> = {}): Promise<HostedEngine> {
  const path = join(dir, `entry-${engines.length}-${script.length}.mjs`);
  await writeFile(path, `process.once('message', ({ id }) => process.send({ kind: 'result', id, value: undefined }));\nprocess.on('disconnect', () => process.exit());\n${script}\n`);
  return start({ entry: path, ...options });
}

async function collect(completions: AsyncIterable<Completion>): Promise<Completion[]> {
  const all: Completion[] = [];
  for await (const completion of completions) all.push(completion);
  return all;
}

function isAlive(pid: number | undefined): boolean {
  try {
    return pid !== undefined && process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('answers as the same engine in this process does, number for number', async () => {
  const here = await ReferenceEngine.open(join(dir, 'model'));
  const hosted = await start();
  expect(await hosted.describe()).toEqual(await here.describe());
  expect(await hosted.forwardBackward(batch, { kind: 'hard' }, 4)).toEqual(await here.forwardBackward(batch, { kind: 'hard' }, 4));
  expect(await hosted.optimStep(adam)).toEqual(await here.optimStep(adam));
  expect(await hosted.forward(batch, { kind: 'hard' })).toEqual(await here.forward(batch, { kind: 'hard' }));
  expect(await collect(hosted.sample(request))).toEqual(await collect(here.sample(request)));
});

test('the native engine runs behind the same door', async () => {
  const hosted = await start({ engine: { implementation: 'native', modelDir: join(dir, 'model'), threads: 1 } });
  expect(await hosted.describe()).toMatchObject({ implementation: 'native', threads: 1, vocabSize: 288, step: 0 });
  expect((await collect(hosted.sample(request))).map(({ ids_T }) => ids_T.length)).toEqual([4, 4]);
});

test('a checkpoint written by one process is loaded by another', async () => {
  const first = await start();
  await first.forwardBackward(batch, { kind: 'hard' }, 4);
  await first.optimStep(adam);
  const ref = await first.save(join(dir, 'checkpoint'));
  const second = await start();
  await second.load(ref);
  expect(await second.forward(batch, { kind: 'hard' })).toEqual(await first.forward(batch, { kind: 'hard' }));
});

test('opening a directory without a model fails with the reason, and leaves no process', async () => {
  await expect(start({ engine: { implementation: 'reference', modelDir: join(dir, 'absent'), threads: 1 } })).rejects.toThrow(/absent/);
});

test('an error keeps its class and text across the border, and the engine goes on', async () => {
  const hosted = await start();
  const broken = { ...batch, rows_R: Int32Array.of(1, 3, 4) };
  await expect(hosted.forward(broken, { kind: 'hard' })).rejects.toThrow(/rows_R\[1\] is the last row/);
  await expect(hosted.forward(broken, { kind: 'hard' })).rejects.toBeInstanceOf(BatchInvalid);
  expect((await hosted.describe()).step).toBe(0);
});

test('an abort reaches the process: the gradients are dropped', async () => {
  const hosted = await start();
  await hosted.forwardBackward(batch, { kind: 'hard' }, 4);
  await expect(hosted.forwardBackward(batch, { kind: 'hard' }, 4, { signal: AbortSignal.abort() })).rejects.toBeInstanceOf(Aborted);
  expect((await hosted.optimStep(adam)).gradNorm).toBe(0);
});

test('an abort during a stream ends it with Aborted', async () => {
  const hosted = await start();
  const controller = new AbortController();
  const long = { ...request, sampling: { ...request.sampling, maxTokens: 200 }, prompts: Array.from({ length: 50 }, (_, sample) => ({ ids_T: Int32Array.of(5), sample })) };
  const reading = collect(hosted.sample(long, controller.signal));
  controller.abort();
  await expect(reading).rejects.toBeInstanceOf(Aborted);
});

test('leaving a stream early stops its work, and the next call goes through', async () => {
  const hosted = await start();
  const many = { ...request, prompts: Array.from({ length: 50 }, (_, sample) => ({ ids_T: Int32Array.of(5), sample })) };
  for await (const completion of hosted.sample(many)) {
    expect(completion.index).toBe(0);
    break;
  }
  expect((await hosted.describe()).step).toBe(0);
});

test('a killed process surfaces as EngineFailed from the pending call and every later one', async () => {
  const hosted = await startScript('');
  const pending = hosted.describe();
  process.kill(hosted.pid ?? 0, 'SIGKILL');
  await expect(pending).rejects.toThrow(EngineFailed);
  await expect(pending).rejects.toThrow(/SIGKILL/);
  await expect(hosted.describe()).rejects.toThrow(/SIGKILL/);
});

test('a process that ends by itself surfaces with its exit code', async () => {
  const hosted = await startScript(`process.on('message', ({ call }) => call.method === 'describe' && process.exit(7));`);
  await expect(hosted.describe()).rejects.toThrow(/exit code 7/);
});

test('a working process that falls silent is killed', async () => {
  const hosted = await startScript('', { silenceMs: 3_000 });
  await expect(hosted.describe()).rejects.toThrow(/no sign of life/);
});

test('closing ends the process, by force when it does not listen, and rejects what is pending', async () => {
  const hosted = await startScript(`process.on('SIGTERM', () => {});`, { closeMs: 20 });
  const pending = expect(hosted.describe()).rejects.toThrow(/was closed/);
  await hosted.close();
  await pending;
  expect(isAlive(hosted.pid)).toBe(false);
});

test('a kill ends the process at once, frozen or not, and what is pending with it', async () => {
  const kill = new AbortController();
  const hosted = await start({ killSignal: kill.signal });
  process.kill(hosted.pid ?? 0, 'SIGSTOP');
  const pending = hosted.describe();
  kill.abort();
  await expect(pending).rejects.toThrow(/was killed/);
  await hosted.close();
  expect(isAlive(hosted.pid)).toBe(false);
});

test('warnings of the engine reach the caller', async () => {
  const warnings: string[] = [];
  const script = `process.on('message', ({ id, call }) => call.method === 'load' && (process.send({ kind: 'warning', message: 'not exact' }), process.send({ kind: 'result', id, value: undefined })));`;
  const hosted = await startScript(script, { onWarning: (message) => warnings.push(message) });
  await hosted.load({ dir: 'x', step: 1 });
  expect(warnings).toEqual(['not exact']);
});

test('the process inherits no variable of its parent and is told to wait passively', async () => {
  const hosted = await startScript(`process.on('message', ({ id, call }) => call.method === 'describe' && process.send({ kind: 'result', id, value: { ...process.env } }));`, {
    environment: { DNNL_MAX_CPU_ISA: 'AVX2' },
  });
  const variables = Object.entries(await hosted.describe()).filter(([name]) => !name.startsWith('NODE_CHANNEL_'));
  expect(Object.fromEntries(variables)).toEqual({ DNNL_MAX_CPU_ISA: 'AVX2', OMP_WAIT_POLICY: 'passive', GOMP_SPINCOUNT: '2000', OMP_NUM_THREADS: '1' });
});

test('the engine process ends when its parent goes away', async () => {
  const child = fork(entry, [], { serialization: 'advanced', execArgv: [], stdio: 'ignore' });
  child.send({ kind: 'call', id: 1, call: { method: 'describe' }, aborted: false });
  expect((await once(child, 'message'))[0]).toMatchObject({ kind: 'error', id: 1, error: { code: 'engine.failed' } });
  child.disconnect();
  const [code] = (await once(child, 'exit')) as [number | null];
  expect(code).toBe(0);
});

/** Opens an engine in a process whose host says nothing more. */
async function startUnheard(options: Partial<EngineOptions>, args: readonly string[] = []): Promise<ChildProcess> {
  const child = fork(entry, args, { serialization: 'advanced', execArgv: [], stdio: 'ignore' });
  const opened = once(child, 'message');
  child.send({ kind: 'call', id: 1, call: { method: 'open', options: { implementation: 'reference', modelDir: join(dir, 'model'), threads: 1, ...options } }, aborted: false });
  expect((await opened)[0]).toMatchObject({ kind: 'result', id: 1 });
  return child;
}

test('the engine process kills itself when its host falls silent', async () => {
  const child = await startUnheard({ hostSilenceMs: 200 });
  expect(((await once(child, 'exit')) as [number | null, string | null])[1]).toBe('SIGKILL');
});

test('a living host is heard: its engine outlives many silences', async () => {
  const hosted = await start({ engine: { implementation: 'reference', modelDir: join(dir, 'model'), threads: 1, hostSilenceMs: 400 } });
  for (const end = performance.now() + 4 * 400; performance.now() < end; ) expect((await hosted.describe()).step).toBe(0);
});

describe('a device', () => {
  const device = `test-${process.pid}`;
  const engine = (): HostOptions['engine'] => ({ implementation: 'reference', modelDir: join(dir, 'model'), threads: 1, device });

  test('carries one engine at a time', async () => {
    const first = await start({ engine: engine() });
    expect(isDeviceTaken(device)).toBe(true);
    await expect(start({ engine: engine() })).rejects.toMatchObject({ code: 'engine.device_busy' });
    await first.close();
    expect(isDeviceTaken(device)).toBe(false);
    await expect(start({ engine: engine() })).resolves.toBeDefined();
  });

  test('is freed of an engine whose host is gone, however stuck, and of no other', async () => {
    const living = await start({ engine: { ...engine(), device: `${device}-other` } });
    const gone = await startUnheard({ device }, [`--device=${device}`, '--host=1']); // its parent is this process, so by its own words its host is gone
    gone.kill('SIGSTOP');
    expect(isDeviceTaken(device)).toBe(false);
    expect(await reapLeftovers(device)).toEqual([gone.pid]);
    expect(await reapLeftovers(`${device}-other`)).toEqual([]);
    expect((await living.describe()).step).toBe(0);
    await expect(start({ engine: engine() })).resolves.toBeDefined();
  });
});
