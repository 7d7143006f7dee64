import { isAlive } from '../support/limbeck-process.js';
import { ChaosJob } from './chaos-job.js';
import { SHRUNK, type ChaosService } from './chaos-service.js';
import { Claims, type ChaosRow } from './table.js';
import { checkAgainst, type Undisturbed } from './undisturbed.js';

const FROZEN_LEASES = 3;

/** C3: freezes a worker at work for three leases, and lets it go on. */
export async function freezeWorkers(service: ChaosService, undisturbed: Undisturbed, { times }: { readonly times: number }): Promise<ChaosRow> {
  const claims = new Claims();
  await Promise.all([service.startWorker(), service.startWorker()]);
  const job = await ChaosJob.submit(service, undisturbed.inputs);
  const enginesGone: number[] = [];
  const takeovers: Takeover[] = [];
  for (let n = 0; n < times; n++) {
    const stage = n % 2 === 0 ? 'distill' : 'align';
    const held = await job.untilStage(stage, ({ status, done }) => status === 'running' && done >= 3 + 4 * n);
    const worker = service.workers.find(({ name }) => name === held.worker)!;
    const engines = await worker.engines();
    const frozenAt = Date.now();
    worker.signal('SIGSTOP');
    await job.until(() => Promise.resolve(engines.some(isAlive) ? undefined : true));
    enginesGone.push(Date.now() - frozenAt);
    await job.untilStage(stage, ({ epoch }) => epoch > held.epoch);
    const takenAt = Date.now();
    await job.until(() => Promise.resolve(Date.now() - frozenAt > FROZEN_LEASES * SHRUNK.leaseMs ? true : undefined));
    worker.signal('SIGCONT');
    takeovers.push({ stage, epoch: held.epoch, at: takenAt });
  }
  await job.untilEnded();
  const refused = (await Promise.all(service.workers.map((worker) => worker.fencedWrites()))).reduce((sum, count) => sum + count, 0);
  const late = await Promise.all(takeovers.map((takeover) => lateWrites(job, takeover)));
  claims.equal('rows written under an epoch after it was taken over', late, takeovers.map(() => 0));
  await service.killWorkers();
  await checkAgainst(claims, job, undisturbed);
  claims.atMost('ms from the freeze to the engine\'s death', Math.max(...enginesGone), SHRUNK.leaseMs);
  const seen = `late writes accepted ${late.reduce((sum, count) => sum + count, 0)}, refused by the fence ${refused}; engine dead ${Math.max(...enginesGone)} ms after the freeze at worst (lease ${SHRUNK.leaseMs} ms)`;
  return { id: 'C3', fault: 'SIGSTOP of a worker for 3 leases, then SIGCONT', times, mustHold: 'no late write accepted, its engine dead within a lease, same bits', seen, broken: claims.broken };
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
