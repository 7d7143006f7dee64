import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Job } from '../../src/runs/runs.schema.js';
import { ChaosJob } from './chaos-job.js';
import type { ChaosService } from './chaos-service.js';
import { Claims, type ChaosRow } from './table.js';
import { checkAgainst, type Undisturbed } from './undisturbed.js';

const DAMAGES: Readonly<Record<string, (dir: string) => Promise<void>>> = {
  'a flipped bit': async (dir) => {
    const path = join(dir, 'm.safetensors');
    const bytes = await readFile(path);
    bytes[bytes.length >> 1] ^= 1;
    await writeFile(path, bytes);
  },
  'a missing file': (dir) => rm(join(dir, 'v.safetensors')),
  'an older format': (dir) => writeFile(join(dir, 'checkpoint.json'), JSON.stringify({ format: 0, step: 1, files: [] })),
};

/** C19: damages the newest checkpoint of a paused job in each way, and has it go on. */
export async function damageCheckpoints(service: ChaosService, undisturbed: Undisturbed): Promise<ChaosRow> {
  const claims = new Claims();
  await service.startWorker();
  const seen: string[] = [];
  for (const [name, damage] of Object.entries(DAMAGES)) {
    const job = await ChaosJob.submit(service, undisturbed.inputs);
    await job.until(async () => ((await job.committedStep('distill')) >= 6 ? true : undefined));
    await order(service, job, 'pause');
    await job.until(async () => ((await job.status()) === 'paused' ? true : undefined));
    const [newest] = await job.query<{ place: string; step: number }>(
      `select c.name as place, c.step from checkpoints c where c.run_id = $1 and c.stage = 'distill' and c.state = 'committed' order by c.step desc`,
      [job.id],
    );
    await damage(join(service.dir, 'store', 'runs', job.id, newest.place));
    await order(service, job, 'resume');
    await job.untilEnded();
    await checkAgainst(claims, job, undisturbed);
    const [loaded] = await job.events('checkpoint.loaded');
    claims.equal(`checkpoints set aside after ${name}`, (await job.events('checkpoint.quarantined')).length, 1);
    claims.holds(`after ${name} it went on at step ${loaded?.data.first_step}`, loaded?.data.first_step !== undefined && loaded.data.first_step > 1 && loaded.data.first_step <= newest.step);
    seen.push(`${name}: step ${newest.step} set aside, on from ${loaded?.data.first_step}`);
  }
  await service.killWorkers();
  return { id: 'C19', fault: 'newest checkpoint damaged', times: seen.length, mustHold: 'set aside with an event, the next older used, same bits', seen: seen.join('; '), broken: claims.broken };
}

async function order(service: ChaosService, job: ChaosJob, what: 'pause' | 'resume'): Promise<void> {
  const client = service.client();
  await client.post(`/v1/fine_tuning/jobs/${job.id}/${what}`, {}, Job).finally(() => client.close());
}
