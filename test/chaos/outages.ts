import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { redisCommand } from '../../src/embedded/redis-command.js';
import { CHAOS_METHOD, ChaosJob, stageOf } from './chaos-job.js';
import { OUTAGE_MS, type ChaosService } from './chaos-service.js';
import { Claims, type ChaosRow } from './table.js';
import { checkAgainst, type Undisturbed } from './undisturbed.js';

/** C5: how long the API may take to serve again once Postgres does. */
const RECOVERED_MS = 15_000;
const JOBS = '/v1/fine_tuning/jobs';

/** C5: restarts Postgres while a job trains, and submits another meanwhile; the last time it stays away for two leases. */
export async function restartPostgres(service: ChaosService, undisturbed: Undisturbed, { times }: { readonly times: number }): Promise<ChaosRow> {
  const claims = new Claims();
  await Promise.all([service.startWorker(), service.startWorker()]);
  const job = await ChaosJob.submit(service, undisturbed.inputs);
  const recovered: number[] = [];
  const submitted: { readonly key: string; readonly id: string; readonly refusals: number }[] = [];
  for (let n = 0; n < times; n++) {
    const stage = stageOf(n, times);
    const from = await job.committedStep(stage);
    await job.until(async () => ((await job.committedStep(stage)) > from ? true : undefined));
    await service.postgres.stop();
    const submitting = submitUntilTaken(service, undisturbed, claims);
    if (n === times - 1) await pause(OUTAGE_MS);
    await service.postgres.revive();
    const at = Date.now();
    submitted.push(await submitting);
    recovered.push(Date.now() - at);
  }
  await job.untilEnded();
  const jobs = await job.query<{ count: number }>('select count(*)::int as count from runs where metadata ? $1', ['outage']);
  claims.equal('jobs of the submissions made while Postgres was away', jobs[0].count, times);
  claims.holds('no submission met a 503', submitted.some(({ refusals }) => refusals > 0));
  for (const { id } of submitted) await ChaosJob.of(service, id).untilEnded();
  await service.killWorkers();
  await checkAgainst(claims, job, undisturbed);
  claims.atMost('ms until the API served again', Math.max(...recovered), RECOVERED_MS);
  const seen = `${submitted.reduce((sum, { refusals }) => sum + refusals, 0)} answers of 503 with Retry-After; served again ${Math.max(...recovered)} ms after Postgres at worst; ${jobs[0].count} jobs of ${times} keys`;
  return { id: 'C5', fault: 'Postgres restarted in training and submission, once away for 2 leases', times, mustHold: 'no lost or double job, 503 with Retry-After, back in 15 s, same bits', seen, broken: claims.broken };
}

/** Posts one job with one key again and again until it is taken. */
async function submitUntilTaken(service: ChaosService, { inputs }: Undisturbed, claims: Claims): Promise<{ readonly key: string; readonly id: string; readonly refusals: number }> {
  const key = randomUUID();
  const { model, trainingFile: training_file, validationFile: validation_file, teacher } = inputs;
  const distillation = { ...CHAOS_METHOD, teacher, distill: { ...CHAOS_METHOD.distill, epochs: 1 }, align: { ...CHAOS_METHOD.align, steps: 1 } };
  const body = JSON.stringify({ model, training_file, validation_file, metadata: { outage: key }, method: { type: 'distillation', distillation } });
  for (let refusals = 0; ; refusals++) {
    const answer = await fetch(`${service.url}${JOBS}`, { method: 'POST', body, headers: { authorization: `Bearer ${service.key}`, 'content-type': 'application/json', 'idempotency-key': key } });
    if (answer.ok) return { key, id: ((await answer.json()) as { id: string }).id, refusals };
    claims.equal('status while Postgres is away', answer.status, 503);
    claims.holds(`Retry-After of a 503 is ${answer.headers.get('retry-after')}`, Number(answer.headers.get('retry-after')) <= 60);
    await pause(200);
  }
}

/** C7: empties Redis while a job is at work, and lets it start again without what it had. */
export async function emptyRedis(service: ChaosService, undisturbed: Undisturbed, { times }: { readonly times: number }): Promise<ChaosRow> {
  const claims = new Claims();
  await Promise.all([service.startWorker(), service.startWorker()]);
  const job = await ChaosJob.submit(service, undisturbed.inputs);
  for (let n = 0; n < times; n++) {
    const stage = stageOf(n, times);
    const from = await job.committedStep(stage);
    await job.until(async () => ((await job.committedStep(stage)) > from ? true : undefined));
    if (n < times - 1) await redis(service, 'FLUSHALL');
    else {
      await service.redis.stop();
      rmSync(join(service.dir, 'redis', 'appendonlydir'), { recursive: true, force: true });
      await service.redis.revive();
    }
  }
  const last = await ChaosJob.submit(service, undisturbed.inputs);
  await Promise.all([job.untilEnded(), last.untilEnded()]);
  await service.killWorkers();
  await checkAgainst(claims, job, undisturbed);
  await checkAgainst(claims, last, undisturbed);
  claims.equal('epochs of the job', (await job.stages()).map(({ epoch }) => epoch), [1, 1, 1, 1, 1, 1]);
  return { id: 'C7', fault: 'FLUSHALL at work, the last time a restart without persistence', times, mustHold: 'queue rebuilt, no double run, same bits', seen: 'every stage claimed once', broken: claims.broken };
}

/** C8: Redis away for two leases with a submission in between; the submitted job starts while it is still away. */
export async function removeRedis(service: ChaosService, undisturbed: Undisturbed): Promise<ChaosRow> {
  const claims = new Claims();
  await Promise.all([service.startWorker(), service.startWorker()]);
  const job = await ChaosJob.submit(service, undisturbed.inputs);
  await job.untilStage('distill', ({ status, done }) => status === 'running' && done > 0);
  await service.redis.stop();
  const at = Date.now();
  const queued = await ChaosJob.submit(service, undisturbed.inputs);
  const answeredMs = Date.now() - at;
  await queued.untilStage('validate', ({ epoch }) => epoch > 0);
  const startedMs = Date.now() - at;
  await pause(Math.max(0, OUTAGE_MS - (Date.now() - at)));
  await service.redis.revive();
  await Promise.all([job.untilEnded(), queued.untilEnded()]);
  await service.killWorkers();
  for (const one of [job, queued]) {
    await checkAgainst(claims, one, undisturbed);
    claims.equal(`epochs of ${one.id}`, (await one.stages()).map(({ epoch }) => epoch), [1, 1, 1, 1, 1, 1]);
  }
  const seen = `submission answered in ${answeredMs} ms, begun ${startedMs} ms after it without Redis; every stage claimed once`;
  return { id: 'C8', fault: 'Redis away for 2 leases, a submission in between', times: 1, mustHold: 'submission accepted and begun, running job unaffected, same bits', seen, broken: claims.broken };
}

/** C9: delivers the wake-up of the stage at work five times more, and pushes its job back as Bull does with a stalled one. */
export async function deliverAgain(service: ChaosService, undisturbed: Undisturbed): Promise<ChaosRow> {
  const claims = new Claims();
  await Promise.all([service.startWorker(), service.startWorker(), service.startWorker()]);
  const job = await ChaosJob.submit(service, undisturbed.inputs);
  for (const stage of ['distill', 'align'] as const) {
    const { id, epoch } = await job.untilStage(stage, ({ status, done }) => status === 'running' && done > 0);
    for (let copy = 0; copy < 5; copy++) {
      const data = JSON.stringify({ stageId: id, epoch: copy < 3 ? epoch : epoch + 1 });
      await redis(service, 'HSET', `limbeck:device:copy-${stage}-${copy}`, 'name', '__default__', 'data', data, 'opts', '{}', 'timestamp', String(Date.now()), 'delay', '0', 'priority', '0');
      await redis(service, 'LPUSH', 'limbeck:device:wait', `copy-${stage}-${copy}`);
    }
    await redis(service, 'DEL', `limbeck:device:${id}-${epoch}:lock`);
    await redis(service, 'RPUSH', 'limbeck:device:wait', `${id}-${epoch}`);
  }
  await job.untilEnded();
  await service.killWorkers();
  await checkAgainst(claims, job, undisturbed);
  claims.equal('epochs of the job', (await job.stages()).map(({ epoch }) => epoch), [1, 1, 1, 1, 1, 1]);
  return { id: 'C9', fault: 'one wake-up delivered 5 times, a stalled job delivered again', times: 2, mustHold: 'one owner, one result', seen: 'every stage claimed once', broken: claims.broken };
}

function redis(service: ChaosService, ...words: readonly string[]): Promise<string> {
  const { port, password } = new URL(service.redis.url);
  return redisCommand({ port: Number(port), password, timeoutMs: 5_000 }, ...words);
}
