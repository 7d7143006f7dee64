import { setTimeout as pause } from 'node:timers/promises';
import { isAlive } from '../support/limbeck-process.js';
import { ChaosJob, stageOf } from './chaos-job.js';
import { SHRUNK, type ChaosService } from './chaos-service.js';
import { Claims, type ChaosRow } from './table.js';
import { checkAgainst, type Undisturbed } from './undisturbed.js';

const FROZEN_LEASES = 3;
const LOOK_MS = 10;

/** C3: freezes the worker of a job for three leases, in which another takes the job over, and lets it go on. */
export async function freezeWorkers(service: ChaosService, undisturbed: Undisturbed, { times }: { readonly times: number }): Promise<ChaosRow> {
  const claims = new Claims();
  await Promise.all([service.startWorker(), service.startWorker()]);
  const enginesGone: number[] = [];
  let late = 0;
  for (let n = 0; n < times; n++) {
    const job = await ChaosJob.submit(service, undisturbed.inputs);
    const { goneMs, takeover } = await freezeOnce(service, job, stageOf(n, times));
    await job.untilEnded();
    enginesGone.push(goneMs);
    late += await lateWrites(job, takeover);
    await checkAgainst(claims, job, undisturbed);
  }
  const refused = (await Promise.all(service.workers.map((worker) => worker.fencedWrites()))).reduce((sum, count) => sum + count, 0);
  await service.killWorkers();
  claims.equal('rows written under an epoch after it was taken over', late, 0);
  claims.atMost("ms from the freeze to the engine's death", Math.max(...enginesGone), SHRUNK.leaseMs);
  const seen = `late writes accepted ${late}, refused by the fence ${refused}; engine dead ${Math.max(...enginesGone)} ms after the freeze at worst (lease ${SHRUNK.leaseMs} ms)`;
  return { id: 'C3', fault: 'SIGSTOP of a worker for 3 leases, then SIGCONT', times, mustHold: 'no late write accepted, its engine dead within a lease, same bits', seen, broken: claims.broken };
}

/** Returns when the worker is awake again. */
async function freezeOnce(service: ChaosService, job: ChaosJob, stage: 'distill' | 'align'): Promise<{ readonly goneMs: number; readonly takeover: Takeover }> {
  const held = await job.untilStage(stage, ({ status, done }) => status === 'running' && done >= 3);
  const worker = service.workers.find(({ name }) => name === held.worker)!;
  const engines = await worker.engines();
  const frozenAt = Date.now();
  worker.signal('SIGSTOP');
  while (engines.some(isAlive)) await pause(LOOK_MS);
  const goneMs = Date.now() - frozenAt;
  await job.untilStage(stage, ({ epoch }) => epoch > held.epoch);
  const takeover = { stage, epoch: held.epoch, at: Date.now() };
  await pause(FROZEN_LEASES * SHRUNK.leaseMs - (Date.now() - frozenAt));
  worker.signal('SIGCONT');
  await worker.fencedWrites(); // it answers again
  return { goneMs, takeover };
}

/** An epoch that ended with another's claim, seen at `at` (Unix milliseconds). */
interface Takeover {
  readonly stage: string;
  readonly epoch: number;
  readonly at: number;
}

/** Rows that were written under an epoch after it was taken over: events, files, checkpoints and points. */
async function lateWrites(job: ChaosJob, { stage, epoch, at }: Takeover): Promise<number> {
  const [{ late }] = await job.query<{ late: number }>(
    `select ((select count(*) from events where run_id = $1 and data->>'stage' = $2 and (data->>'epoch')::int = $3 and at > to_timestamp($4 / 1000.0))
           + (select count(*) from run_files where run_id = $1 and stage = $2 and epoch = $3 and written_at > to_timestamp($4 / 1000.0))
           + (select count(*) from checkpoints where run_id = $1 and stage = $2 and epoch = $3 and created_at > to_timestamp($4 / 1000.0))
           + (select count(*) from metric_points p join metric_series s on s.id = p.series where s.run_id = $1 and s.stage = $2 and p.attempt = $3 and p.at > to_timestamp($4 / 1000.0)))::int as late`,
    [job.id, stage, epoch, at],
  );
  return late;
}
