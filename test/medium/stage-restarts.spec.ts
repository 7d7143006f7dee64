import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FailureClass } from '../../src/runs/stage-ledger.service.js';
import { expire, mustClaim, openLedger, storeStages, type LedgerParts } from '../support/bare-run.js';

/** Limits that no test reaches by accident. */
const LIMITS = { trainerRetries: 3, restartsPerDay: 5, crashLoopFailures: 20, crashLoopMs: 600_000, crashLoopDeaths: 20, crashLoopLosses: 20 };
const DEAD = { code: 'engine.failed', message: 'the engine process was killed by SIGSEGV', param: null };

let parts: LedgerParts;
let runs = 0;

afterAll(() => parts.close());

/** A run whose stage `distill` waits. */
async function lay(): Promise<{ runId: string; stage: number }> {
  const runId = `ftjob-${++runs}`;
  const [stage] = await storeStages(parts.database, runId, ['distill', 'align']);
  return { runId, stage };
}

/** Claims the stage, tells of what it reached, and lets the attempt end by this class. */
async function attempt({ stage }: { stage: number }, epoch: number, by: FailureClass, reached: { readonly step?: number; readonly checkpoint?: number } = {}) {
  const claim = await mustClaim(parts, stage, epoch);
  const { step, checkpoint } = reached;
  if (step !== undefined) await parts.reports.progress(claim, { label: 'distill', done: step, total: 99, unit: 'steps', rate: 1 });
  if (checkpoint !== undefined) await parts.reports.checkpoint(claim, { kind: 'checkpoint', stage: 'distill', step: checkpoint, name: `checkpoints/distill/${checkpoint}.${epoch}`, bytes: 1, expired: [] });
  if (by === 'lost') return expire(parts.database, stage);
  return parts.ledger.finish(claim, by === 'preempted' ? { kind: 'stopped' } : { kind: 'failed', by, error: DEAD });
}

const runOf = async ({ runId }: { runId: string }) => (await parts.database.query<{ status: string; error: { code: string; message: string } | null }>('select status, error from runs where id = $1', [runId]))[0];
const historyOf = ({ stage }: { stage: number }) =>
  parts.database.query('select epoch, how, code, step, checkpoint_step from stage_attempts where stage_id = $1 order by epoch', [stage]);
const retriesOf = async ({ runId }: { runId: string }) => {
  const rows = await parts.database.query<{ data: object }>(`select data from events where run_id = $1 and type = 'stage.retried' order by seq`, [runId]);
  return rows.map(({ data }) => data);
};

describe('a stage whose attempt failed', () => {
  beforeAll(async () => {
    parts = await openLedger('/nowhere', LIMITS);
  });

  it.each(['infra', 'trainer_error', 'preempted'] as const)('by %s is offered again, with an event that says why', async (by) => {
    const run = await lay();

    expect(await attempt(run, 1, by, { step: 7, checkpoint: 4 })).toEqual({ id: run.stage, queue: 'device', epoch: 2 });

    expect(await runOf(run)).toEqual({ status: 'running', error: null });
    expect(await retriesOf(run)).toMatchObject([{ stage: 'distill', epoch: 1, class: by, count: 1 }]);
    const code = by === 'preempted' ? 'stages.preempted' : DEAD.code;
    expect(await historyOf(run)).toEqual([{ epoch: 1, how: by, code, step: 7, checkpoint_step: 4 }]);
    expect((await mustClaim(parts, run.stage, 2)).epoch).toBe(2);
  });

  it.each(['invalid', 'teacher'] as const)('by %s ends the run at once', async (by) => {
    const run = await lay();

    expect(await attempt(run, 1, by)).toBeUndefined();

    expect(await runOf(run)).toEqual({ status: 'failed', error: DEAD });
  });

  it('pauses when that was ordered meanwhile, and is not tried again before', async () => {
    const run = await lay();
    const claim = await mustClaim(parts, run.stage, 1);
    await parts.database.query(`update runs set pause_requested_at = clock_timestamp(), status = 'pausing' where id = $1`, [run.runId]);

    expect(await parts.ledger.finish(claim, { kind: 'failed', by: 'trainer_error', error: DEAD })).toBeUndefined();

    expect((await runOf(run)).status).toBe('paused');
  });

  it('bears three deaths of its engine without a new checkpoint, and no fourth', async () => {
    const run = await lay();
    for (let epoch = 1; epoch <= 3; epoch++) await attempt(run, epoch, 'trainer_error', { step: epoch });
    expect((await runOf(run)).status).toBe('running');

    await attempt(run, 4, 'trainer_error', { step: 9 });

    expect(await runOf(run)).toEqual({ status: 'failed', error: DEAD });
  });

  it('bears any number of them with checkpoints in between', async () => {
    const run = await lay();
    for (let epoch = 1; epoch <= 8; epoch++) await attempt(run, epoch, 'trainer_error', { step: 2 * epoch, checkpoint: 2 * epoch });

    expect((await runOf(run)).status).toBe('running');
  });

  it.each(['infra', 'preempted', 'lost'] as const)('by %s fails the run the sixth time within a day', async (by) => {
    const run = await lay();
    for (let epoch = 1; epoch <= 5; epoch++) await attempt(run, epoch, by, { step: epoch });
    await parts.database.query(`update stage_attempts set ended_at = ended_at - interval '25 hours' where stage_id = $1 and epoch = 1`, [run.stage]);
    await attempt(run, 6, by, { step: 6 });
    if (by === 'lost') await mustClaim(parts, run.stage, 7);
    expect((await runOf(run)).status).toBe('running');

    const { stage } = run;
    if (by === 'lost') await expire(parts.database, stage);
    const refused = by === 'lost' ? await parts.ledger.claim({ stageId: stage, epoch: 8, nodeId: parts.nodeId, leaseMs: 1_000 }) : await attempt(run, 7, by, { step: 7 });

    expect(refused).toBeUndefined();
    expect(await runOf(run)).toMatchObject({ status: 'failed', error: { code: 'stages.too_many_restarts' } });
  });
});

describe('a crash loop', () => {
  beforeAll(async () => {
    await parts.close();
    parts = await openLedger('/nowhere', { crashLoopMs: 600_000 });
  });

  it('is two deaths of the engine at the same step with no new checkpoint', async () => {
    const run = await lay();
    await attempt(run, 1, 'trainer_error', { step: 7, checkpoint: 4 });

    await attempt(run, 2, 'trainer_error', { step: 7 });

    const { status, error } = await runOf(run);
    expect([status, error?.code]).toEqual(['failed', 'stages.crash_loop']);
    expect(error?.message).toContain('2 times after step 7');
    expect(error?.message).toContain(DEAD.message);
  });

  it('is not two deaths at the same step with a new checkpoint in between, nor at two steps', async () => {
    const run = await lay();
    await attempt(run, 1, 'trainer_error', { step: 7, checkpoint: 4 });
    await attempt(run, 2, 'trainer_error', { step: 7, checkpoint: 7 });
    await attempt(run, 3, 'trainer_error', { step: 8 });

    expect((await runOf(run)).status).toBe('running');
  });

  it('is four failures of engine and system within ten minutes, older ones not counted', async () => {
    const run = await lay();
    for (const [index, by] of (['infra', 'trainer_error', 'infra', 'infra'] as const).entries()) {
      await attempt(run, index + 1, by, { step: index, checkpoint: index });
      if (index === 0) await parts.database.query(`update stage_attempts set ended_at = ended_at - interval '11 minutes' where stage_id = $1`, [run.stage]);
    }
    expect((await runOf(run)).status).toBe('running');

    await attempt(run, 5, 'trainer_error', { step: 5, checkpoint: 5 });

    expect(await runOf(run)).toMatchObject({ status: 'failed', error: { code: 'stages.crash_loop' } });
  });

  it('is four lost workers at the same step with no new checkpoint, told by the one that would be the fifth', async () => {
    const run = await lay();
    for (let epoch = 1; epoch <= 4; epoch++) await attempt(run, epoch, 'lost', { step: 3 });

    expect(await parts.ledger.claim({ stageId: run.stage, epoch: 5, nodeId: parts.nodeId, leaseMs: 1_000 })).toBeUndefined();

    expect(await runOf(run)).toMatchObject({ status: 'failed', error: { code: 'stages.crash_loop' } });
    const stages = await parts.database.query<{ status: string }>('select status from stages where run_id = $1 order by ordinal', [run.runId]);
    expect(stages.map(({ status }) => status)).toEqual(['failed', 'cancelled']);
  });

  it('is not twenty lost workers with checkpoints in between', async () => {
    const run = await lay();
    for (let epoch = 1; epoch <= 20; epoch++) await attempt(run, epoch, 'lost', { step: epoch, checkpoint: epoch });

    expect((await mustClaim(parts, run.stage, 21)).epoch).toBe(21);
    expect((await historyOf(run)).slice(-2)).toMatchObject([{ how: 'lost', step: 20, checkpoint_step: 20 }, { how: null }]);
  });
});
