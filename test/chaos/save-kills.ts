import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { BoundaryKill, rowBoundary, saveBoundaries } from '../support/kill-at-boundary/boundaries.js';
import { ChaosJob } from './chaos-job.js';
import type { ChaosService } from './chaos-service.js';
import { Claims, type ChaosRow } from './table.js';
import { checkAgainst, type Undisturbed } from './undisturbed.js';

/** C2: kills at each boundary of a save in turn, in the engine or in the worker; the attempt's first save goes through, its second is the one that is struck. */
export async function killAtSaveBoundaries(service: ChaosService, undisturbed: Undisturbed, { kills }: { readonly kills: number }): Promise<ChaosRow> {
  const claims = new Claims();
  const job = await ChaosJob.submit(service, undisturbed.inputs, { checkpoint_every: { steps: 1 } });
  const struck = new Set<string>();
  for (let n = 0; n < kills; n++) {
    const stage = n < Math.ceil((2 * kills) / 3) ? 'distill' : 'align';
    const boundaries = [...saveBoundaries(stage), rowBoundary(stage)];
    const boundary = boundaries[n % boundaries.length];
    const kill = new BoundaryKill(boundary, mkdtempSync(join(service.dir, 'kill-')), 2);
    const worker = await service.startWorker({}, kill.environment);
    await job.until(() => Promise.resolve(kill.hasStruck ? true : undefined));
    await worker.killAll();
    service.workers.pop();
    struck.add(`${stage} ${boundary.name}`);
  }
  await service.startWorker();
  await job.untilEnded();
  await service.killWorkers();
  await checkAgainst(claims, job, undisturbed);
  const loaded = (await job.events('checkpoint.loaded')).map(({ data }) => data);
  const firsts = loaded.map(({ first_step }) => first_step ?? 0);
  claims.holds(`an attempt began from zero: ${firsts.join(', ')}`, firsts.every((first) => first > 1));
  const later = loaded.filter(({ stage, first_step }, at) => loaded[at - 1]?.stage !== stage || (first_step ?? 0) > (loaded[at - 1].first_step ?? 0));
  claims.equal('attempts that began behind the one before', later.length, loaded.length);
  const seen = `${struck.size} different boundaries; first steps after the kills ${firsts.slice(0, 4).join(', ')} … ${firsts.at(-1)}`;
  return { id: 'C2', fault: 'kill -9 at each boundary of a save', times: kills, mustHold: 'same bits, the checkpoint before loads, no restart from zero', seen, broken: claims.broken };
}
