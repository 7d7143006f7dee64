import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { FaultyTools } from '../support/faulty-tools.js';
import { SmallDisk } from '../support/small-disk.js';
import { TinyService } from '../support/tiny-service.js';

const disk = await SmallDisk.mount(64);
let service: TinyService;

afterAll(async () => {
  await service?.close();
  await disk?.unmount();
});

async function weightsOf(id: string): Promise<string> {
  await service.until(id, ({ status }) => status === 'succeeded');
  return service.studentSha256(id);
}

const eventsOf = (id: string, type: string) =>
  service.database.query<{ level: string; data: Record<string, unknown> }>('select level, data from events where run_id = $1 and type = $2 order by seq', [id, type]);
const checkpointsOf = async (id: string) => (await readdir(join(service.storeDir, 'runs', id, 'checkpoints/distill'))).sort();

describe.skipIf(!disk)('a run whose disk is full', () => {
  it('trains on without two saves, pauses at the third, and ends with the same bits once there is room', async () => {
    await mkdir(disk!.dir);
    service = await TinyService.start({ storeDir: disk!.dir });
    await service.startWorker();
    const undisturbed = await weightsOf(await service.submit());
    await service.stopWorkers();

    let saves = 0;
    const tools = new FaultyTools((engine) => {
      const save = engine.save.bind(engine);
      engine.save = (dir) => {
        if (++saves === 2) disk!.fill();
        return save(dir);
      };
    });
    await service.startWorker({}, tools);
    const id = await service.submit();
    const paused = await service.until(id, ({ status }) => status === 'paused');

    expect(paused.status_details.paused_for).toMatchObject({ code: 'storage.disk_full', param: null });
    expect(saves).toBe(4);
    expect(await checkpointsOf(id)).toEqual(['2.1']);
    expect(await eventsOf(id, 'checkpoint.failed')).toMatchObject([{ level: 'warn', data: { stage: 'distill', step: 4, code: 'model_files.disk_full' } }]);

    await disk!.clear();
    await service.post(`/${id}/resume`);

    expect(await weightsOf(id)).toBe(undisturbed);
    expect(await eventsOf(id, 'checkpoint.loaded')).toMatchObject([{ data: { first_step: 3 } }]);
  });
});
