import { ChaosJob, type StageState } from './chaos-job.js';
import type { ChaosService } from './chaos-service.js';
import type { ChaosWorker } from './chaos-worker.js';
import { Claims, type ChaosRow } from './table.js';
import { checkAgainst, type Undisturbed } from './undisturbed.js';

const STAGES = ['collect', 'distill', 'align', 'evaluate', 'export'] as const;
/** R19: a stage that is given back is to be had again within this. */
const CLAIMABLE_MS = 5_000;
const ABANDONED = 75;

/** C4: ends a worker in each stage, by one SIGTERM; then once more in distill and align by two, its engine frozen so that no step boundary comes. */
export async function handOver(service: ChaosService, undisturbed: Undisturbed): Promise<ChaosRow> {
  const claims = new Claims();
  const job = await ChaosJob.submit(service, undisturbed.inputs);
  const givenBack: number[] = [];
  for (const stage of STAGES) {
    const twice = stage === 'distill' || stage === 'align';
    if (twice) givenBack.push(await endWorker(service, job, { stage, how: 'twice', claims }));
    givenBack.push(await endWorker(service, job, { stage, how: 'once', claims }));
  }
  await service.startWorker();
  await job.untilEnded();
  await service.killWorkers();
  await checkAgainst(claims, job, undisturbed);
  const lost = await job.events('stage.lost');
  claims.equal('stages left to their lease', lost.length, 0);
  claims.atMost('ms from SIGTERM to a claimable stage', Math.max(...givenBack), CLAIMABLE_MS);
  const seen = `claimable again ${Math.max(...givenBack)} ms after SIGTERM at worst; statuses 0 and ${ABANDONED}`;
  return { id: 'C4', fault: 'SIGTERM in each stage, double SIGTERM in two', times: givenBack.length, mustHold: 'lease released at once, no lease waited for, exit status tells, same bits', seen, broken: claims.broken };
}

interface Ending {
  readonly stage: (typeof STAGES)[number];
  readonly how: 'once' | 'twice';
  readonly claims: Claims;
}

/** @returns milliseconds from SIGTERM until the stage was free. */
async function endWorker(service: ChaosService, job: ChaosJob, { stage, how, claims }: Ending): Promise<number> {
  const before = await job.stage(stage);
  const worker = await service.startWorker();
  const held = await job.untilStage(stage, ({ status, epoch, done }) => status === 'running' && epoch > before.epoch && (stage === 'export' || done > 0));
  if (how === 'twice') for (const engine of await worker.engines()) process.kill(engine, 'SIGSTOP');
  const at = Date.now();
  worker.signal('SIGTERM');
  if (how === 'twice') await again(job, worker);
  await job.untilStage(stage, (now) => isFree(now, held));
  const ms = Date.now() - at;
  claims.equal(`exit status after SIGTERM ${how} in ${stage}`, await worker.ended(), how === 'once' ? 0 : ABANDONED);
  service.workers.splice(service.workers.indexOf(worker), 1);
  return ms;
}

/** A second SIGTERM, once the first has been heard: two at once are one. */
async function again(job: ChaosJob, worker: ChaosWorker): Promise<void> {
  await job.until(async () => ((await worker.isDraining()) ? true : undefined));
  worker.signal('SIGTERM');
}

/** A stage may have ended before the worker heard. */
function isFree({ status, epoch }: StageState, held: StageState): boolean {
  return epoch === held.epoch && (status === 'waiting' || status === 'succeeded');
}
