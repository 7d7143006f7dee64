import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { StudentService } from '../../src/students/students.service.js';
import { dyingIn, FaultyTools } from '../support/faulty-tools.js';
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
  const { fine_tuned_model: name } = await service.until(id, ({ status }) => status === 'succeeded');
  const directory = await new StudentService(service.database, { storeDir: service.storeDir }).directory(name ?? '');
  return createHash('sha256').update(await readFile(join(directory, 'model.safetensors'))).digest('hex');
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
