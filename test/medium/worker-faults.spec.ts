import { access, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { dyingIn, FaultyTools, orderingAfter } from '../support/faulty-tools.js';
import { TinyService } from '../support/tiny-service.js';

let service: TinyService;
/** SHA-256 of the student of an undisturbed run. */
let undisturbed: string;

beforeAll(async () => {
  service = await TinyService.start();
  await service.startWorker();
  undisturbed = await finish(await service.submit());
  await service.stopWorkers();
});
afterAll(() => service.close());
afterEach(() => service.stopWorkers());

/** Waits for a job's success. @returns the hash of its student. */
async function finish(id: string): Promise<string> {
  await service.until(id, ({ status }) => status === 'succeeded');
  return service.studentSha256(id);
}

const eventsOf = (id: string, type: string) =>
  service.database.query<{ level: string; message: string; data: Record<string, unknown> }>('select level, message, data from events where run_id = $1 and type = $2 order by seq', [id, type]);

describe('a worker whose engine dies', () => {
  it('gives the stage back, which goes on from its last checkpoint to the same bits', async () => {
    let deaths = 0;
    await service.startWorker({}, new FaultyTools(dyingIn(4, () => ++deaths === 1)));
    const id = await service.submit();

    expect(await finish(id)).toBe(undisturbed);

    expect((await service.job(id)).status_details.restarts).toEqual({ trainer_error: 1 });
    expect(await eventsOf(id, 'stage.retried')).toMatchObject([{ level: 'warn', data: { stage: 'distill', class: 'trainer_error', count: 1, cause: { code: 'engine.failed' } } }]);
    expect(await eventsOf(id, 'checkpoint.loaded')).toMatchObject([{ data: { first_step: 3 } }]);
  });

  it('ends a run that kills every engine at the same step, and goes on with others', async () => {
    let isDeadly = true;
    await service.startWorker({}, new FaultyTools(dyingIn(2, () => isDeadly)));
    const id = await service.submit();

    const { error, status_details } = await service.until(id, ({ status }) => status === 'failed');
    isDeadly = false;

    expect(error?.code).toBe('stages.crash_loop');
    expect(status_details.restarts).toEqual({ trainer_error: 1 });
    expect(await finish(await service.submit())).toBe(undisturbed);
  });
});

/** Where a run's checkpoints of distill lie. */
const checkpointsIn = (id: string): string => join(service.storeDir, 'runs', id, 'checkpoints/distill');

/** A job that was paused in distill after its fifth step, with checkpoints of steps 2, 4 and 5. @returns its id. */
async function pausedInDistill(): Promise<string> {
  const started = service.startWorker({}, new FaultyTools(orderingAfter(5, async () => service.post(`/${await submitted}/pause`))));
  const submitted = started.then(() => service.submit());
  const id = await submitted;
  await service.until(id, ({ status }) => status === 'paused');
  return id;
}

async function checkpointSteps(id: string): Promise<number[]> {
  const rows = await service.database.query<{ step: number }>(`select step from checkpoints where run_id = $1 and stage = 'distill' and state = 'committed' order by step desc`, [id]);
  return rows.map(({ step }) => step);
}

/** Kinds of damage to a checkpoint's directory. */
const DAMAGES: readonly [string, (dir: string) => Promise<void>][] = [
  [
    'a flipped bit',
    async (dir) => {
      const path = join(dir, 'state.safetensors');
      const bytes = await readFile(path);
      bytes[bytes.length >> 1] ^= 1;
      await writeFile(path, bytes);
    },
  ],
  ['a missing file', (dir) => rm(join(dir, 'state.safetensors'))],
  ['a missing manifest', (dir) => rm(join(dir, 'checkpoint.json'))],
  ['no directory', (dir) => rm(dir, { recursive: true })],
  ['the manifest of an older format', (dir) => writeFile(join(dir, 'checkpoint.json'), `${JSON.stringify({ format: 0, step: 1, files: [] })}\n`)],
];

describe('a worker that finds a checkpoint damaged', () => {
  it.each(DAMAGES)('by %s goes on from the next older one to the same bits, and tells of it', async (_, damage) => {
    const id = await pausedInDistill();
    const [newest, older] = await checkpointSteps(id);
    await damage(join(checkpointsIn(id), `${newest}.1`));

    await service.post(`/${id}/resume`);

    expect(await finish(id)).toBe(undisturbed);
    expect(await eventsOf(id, 'checkpoint.quarantined')).toMatchObject([{ level: 'warn', data: { stage: 'distill', name: `checkpoints/distill/${newest}.1` } }]);
    expect(await eventsOf(id, 'checkpoint.loaded')).toMatchObject([{ data: { first_step: older + 1 } }]);
  });

  it('fails a run of which none is left, and never begins it anew', async () => {
    const id = await pausedInDistill();
    const steps = await checkpointSteps(id);
    for (const step of steps) await DAMAGES[0][1](join(checkpointsIn(id), `${step}.1`));

    await service.post(`/${id}/resume`);
    const { error } = await service.until(id, ({ status }) => status === 'failed');

    expect(error?.code).toBe('distillation.no_valid_checkpoint');
    expect(await eventsOf(id, 'checkpoint.quarantined')).toHaveLength(steps.length);
    expect(await eventsOf(id, 'checkpoint.loaded')).toEqual([]);
  });
});

describe('a worker that takes a stage again', () => {
  it('sweeps what earlier claims left, and nothing that a row names or a later claim may write', async () => {
    const id = await pausedInDistill();
    const home = join(service.storeDir, 'runs', id);
    const left = ['checkpoints/distill/99.1', 'checkpoints/distill/.99.1.77-1.partial'];
    const others = ['checkpoints/distill/99.7', 'checkpoints/distill/.99.7.77-1.partial'];
    for (const dir of [...left, ...others]) await mkdir(join(home, dir));
    const files = ['state/distill.json.distill-1-9999', 'state/.distill.json.distill-1-9998.77.partial', 'state/distill.json.distill-7-1'];
    for (const file of files) await writeFile(join(home, file), 'left');

    await service.post(`/${id}/resume`);
    expect(await finish(id)).toBe(undisturbed);

    const isThere = async (name: string): Promise<boolean> => access(join(home, name)).then(() => true, () => false);
    expect(await Promise.all([...left, ...files.slice(0, 2)].map(isThere))).toEqual([false, false, false, false]);
    expect(await Promise.all([...others, files[2]].map(isThere))).toEqual([true, true, true]);
    expect(await readdir(checkpointsIn(id))).toHaveLength(3 + others.length);
  });
});
