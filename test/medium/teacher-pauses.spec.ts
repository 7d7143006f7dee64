import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { RunOrders } from '../../src/runs/run-orders.service.js';
import { RunsRepository } from '../../src/runs/runs.repository.js';
import { mustClaim, openLedger, storeStages, type LedgerParts } from '../support/bare-run.js';

const AWAY = { code: 'teacher.away', message: 'the teacher is away', param: null };
let parts: LedgerParts;
let orders: RunOrders;
let runs = 0;

beforeAll(async () => {
  parts = await openLedger('/nowhere');
  orders = new RunOrders(parts.database, new RunsRepository(parts.database), parts.feed, parts.outcomes);
});
afterAll(() => parts.close());
afterEach(() => parts.database.query('delete from teacher_endpoints'));

/** A run that paused because its teacher was away. */
async function layPaused(cause = AWAY): Promise<{ runId: string; stageId: number }> {
  const runId = `ftjob-away-${++runs}`;
  const [stageId] = await storeStages(parts.database, runId, ['align', 'evaluate']);
  const claim = await mustClaim(parts, stageId, 1);
  await parts.ledger.finish(claim, { kind: 'paused', cause });
  return { runId, stageId };
}

const openCircuit = () => parts.database.query(`insert into teacher_endpoints (base_url, concurrency, calls, opened_at, probe_at) select base_url, 1, '{}', now(), now() from teachers`);
const stateOf = async (runId: string) => {
  const [run] = await parts.database.query<{ status: string; pause_cause: unknown }>('select status, pause_cause from runs where id = $1', [runId]);
  return run;
};

describe('a run that paused because its teacher was away', () => {
  it('stays paused while the circuit is open, and is queued once it is closed', async () => {
    const { runId, stageId } = await layPaused();
    await openCircuit();
    expect(await parts.ledger.resumeForTeachers()).toBe(0);
    expect(await stateOf(runId)).toEqual({ status: 'paused', pause_cause: AWAY });

    await parts.database.query('update teacher_endpoints set opened_at = null');
    expect(await parts.ledger.resumeForTeachers()).toBe(1);
    expect(await stateOf(runId)).toEqual({ status: 'queued', pause_cause: null });
    expect((await mustClaim(parts, stageId, 2)).stage).toBe('align');
  });

  it('stays paused when somebody paused it meanwhile, until somebody resumes it', async () => {
    const { runId } = await layPaused();
    await orders.pause(runId);
    expect(await parts.ledger.resumeForTeachers()).toBe(0);
    expect(await parts.database.transaction((tx) => parts.outcomes.resumeForTeacher(tx, runId))).toBe(false); // as where the order came between look and lock
    expect(await stateOf(runId)).toEqual({ status: 'paused', pause_cause: null });

    await orders.resume(runId);
    expect((await stateOf(runId)).status).toBe('queued');
  });

  it('is resumed once by workers that look at the same time', async () => {
    const { runId } = await layPaused();
    const resumed = await Promise.all([1, 2, 3].map(() => parts.ledger.resumeForTeachers()));
    expect(resumed.reduce((sum, count) => sum + count, 0)).toBe(1);
    expect((await stateOf(runId)).status).toBe('queued');
  });

  it('is not taken for one that paused for another cause', async () => {
    const { runId } = await layPaused({ ...AWAY, code: 'storage.disk_full' });
    expect(await parts.ledger.resumeForTeachers()).toBe(0);
    expect((await stateOf(runId)).status).toBe('paused');
  });
});

describe('a stage that waits for its teacher', () => {
  it('says so until it is back, or another worker takes the stage', async () => {
    const runId = `ftjob-away-${++runs}`;
    const [stageId] = await storeStages(parts.database, runId, ['align']);
    const claim = await mustClaim(parts, stageId, 1);
    const waitsFor = async () => (await parts.database.query<{ waiting_for: string | null }>('select waiting_for from stages where id = $1', [stageId]))[0].waiting_for;

    await parts.reports.teacherAway(claim, true);
    expect(await waitsFor()).toBe('teacher_unavailable');
    await parts.reports.teacherAway(claim, false);
    expect(await waitsFor()).toBeNull();
    await parts.reports.teacherAway(claim, true);
    await parts.ledger.finish(claim, { kind: 'stopped' });
    await mustClaim(parts, stageId, 2);
    expect(await waitsFor()).toBeNull();
    await expect(parts.reports.teacherAttempts(claim, 3)).rejects.toThrow(/epoch 1/);
  });
});
