import { StepKiller, type StepCall } from '../support/kill-in-step/order.js';
import { ChaosJob } from './chaos-job.js';
import { SHRUNK, type ChaosService } from './chaos-service.js';
import { Claims, type ChaosRow } from './table.js';
import { seeded } from './seeded.js';
import { checkAgainst, type Undisturbed } from './undisturbed.js';

/** Steps that an attempt commits, at least, before it is killed. */
const STEPS_BETWEEN = [1, 3] as const;
const IN_STEP: Readonly<Record<'distill' | 'align', readonly StepCall[]>> = { distill: ['forwardBackward', 'optimStep'], align: ['sample', 'forwardBackward', 'optimStep'] };

/** One kill and what came of it. */
interface Kill {
  readonly stage: 'distill' | 'align';
  readonly epoch: number;
  /** The call in whose middle it fell; undefined for one by the clock. */
  readonly inStep: StepCall | undefined;
  /** Unix milliseconds. */
  readonly at: number;
  /** The last committed step when the worker was dead. */
  readonly committed: number;
  /** Place of each kept shard and journal entry then. */
  readonly kept: ReadonlyMap<string, string>;
}

/** C1: kills worker and engine together again and again while they train, a third of the times inside a step; another worker is there to go on. */
export async function killAtRandomSteps(service: ChaosService, undisturbed: Undisturbed, { kills, seed }: { readonly kills: number; readonly seed: number }): Promise<ChaosRow> {
  const random = seeded(seed);
  const killer = new StepKiller(service.dir);
  const claims = new Claims();
  await Promise.all([service.startWorker({}, killer.environment), service.startWorker({}, killer.environment)]);
  const job = await ChaosJob.submit(service, undisturbed.inputs);
  const done: Kill[] = [];
  for (let n = 0; n < kills; n++) {
    const stage = n < Math.ceil((2 * kills) / 3) ? 'distill' : 'align';
    const calls = IN_STEP[stage];
    const inStep = n % 3 === 1 ? calls[Math.floor(random() * calls.length)] : undefined;
    const last = done.findLast((kill) => kill.stage === stage);
    done.push(await killOnce(service, job, { stage, inStep, last, steps: STEPS_BETWEEN[Math.floor(random() * STEPS_BETWEEN.length)], killer }));
    await service.startWorker({}, killer.environment); // as its supervisor would
  }
  await job.untilEnded();
  await service.killWorkers();
  await checkAgainst(claims, job, undisturbed);
  const seen = await judge(job, done, claims);
  return { id: 'C1', fault: `kill -9 of worker and engine at random steps (seed ${seed})`, times: kills, mustHold: 'same bits, every step once, no restart from zero, nothing asked twice, another worker within 2 leases', seen, broken: claims.broken };
}

interface KillOrder {
  readonly stage: 'distill' | 'align';
  readonly inStep: StepCall | undefined;
  /** The stage's kill before this one. */
  readonly last: Kill | undefined;
  readonly steps: number;
  readonly killer: StepKiller;
}

async function killOnce(service: ChaosService, job: ChaosJob, { stage, inStep, last, steps, killer }: KillOrder): Promise<Kill> {
  const { worker: name, epoch } = await job.until(async () => {
    const held = await job.stage(stage);
    const isOn = held.status === 'running' && held.epoch > (last?.epoch ?? 0);
    return isOn && (await job.committedStep(stage)) >= (last?.committed ?? 0) + steps ? held : undefined;
  });
  const worker = service.workers.find((one) => one.name === name);
  if (!worker) throw new Error(`${stage} is held by ${name}, which is none of the workers that live`);
  const at = inStep ? await struck(job, killer, inStep) : Date.now();
  await worker.killAll();
  service.workers.splice(service.workers.indexOf(worker), 1);
  const kept = new Map([...(await job.places('shards/')), ...(await job.places('journal/'))]);
  return { stage, epoch, inStep, at, committed: await job.committedStep(stage), kept };
}

function struck(job: ChaosJob, killer: StepKiller, call: StepCall): Promise<number> {
  killer.order(call);
  return job.until(() => Promise.resolve(killer.struckAt));
}

/** @returns the figures in words. */
async function judge(job: ChaosJob, kills: readonly Kill[], claims: Claims): Promise<string> {
  const loaded = await job.events('checkpoint.loaded');
  const claimed = await job.events('stage.resumed');
  const kept = new Map([...(await job.places('shards/')), ...(await job.places('journal/'))]);
  const takeovers: number[] = [];
  const starts: number[] = [];
  for (const kill of kills) {
    const claim = claimed.find(({ at, data }) => at > kill.at && data.stage === kill.stage);
    const load = loaded.find(({ at, data }) => at > kill.at && data.stage === kill.stage);
    claims.holds(`resumed after the kill at ${kill.committed} of ${kill.stage}`, claim !== undefined && load !== undefined);
    if (!claim || !load) continue;
    claims.holds(`${kill.stage} went on at step ${load.data.first_step}, not past the last checkpoint, ${kill.committed}`, (load.data.first_step ?? 0) > kill.committed);
    claims.holds(`${kill.stage} began from zero`, (load.data.first_step ?? 0) > 1);
    for (const [name, place] of kill.kept) claims.equal(`place of ${name}`, kept.get(name), place);
    takeovers.push(claim.at - kill.at);
    starts.push(load.at - claim.at);
  }
  const worst = (values: readonly number[]): number => Math.round(Math.max(0, ...values));
  claims.atMost('ms from a kill to the next claim', worst(takeovers), 2 * SHRUNK.leaseMs);
  const inside = kills.filter(({ inStep }) => inStep !== undefined).length;
  claims.holds(`${inside} of ${kills.length} kills inside a step are less than a third`, inside >= Math.floor(kills.length / 3));
  return `${inside} inside a step; kill to claim worst ${worst(takeovers)} ms (2 leases: ${2 * SHRUNK.leaseMs}), claim to checkpoint loaded worst ${worst(starts)} ms`;
}
