import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Claim } from '../../src/runs/stage-ledger.service.js';
import { expire, mustClaim, openLedger, storeStages, type LedgerParts } from '../support/bare-run.js';

const ACCOUNT = { seconds: 1, tokens: 2, teacher_calls: 3 };
let parts: LedgerParts;
let runs = 0;

beforeAll(async () => {
  parts = await openLedger('/nowhere', { crashLoopLosses: 100 }); // takeovers without progress are what is tested here
});
afterAll(() => parts.close());

/** A new run. @returns its id and its stages' ids. */
async function lay(stages: readonly string[] = ['distill', 'align'], status?: string): Promise<{ runId: string; ids: number[] }> {
  const runId = `ftjob-${++runs}`;
  return { runId, ids: await storeStages(parts.database, runId, stages, status) };
}

const tryClaim = (stageId: number, epoch: number) => parts.ledger.claim({ stageId, epoch, nodeId: parts.nodeId, leaseMs: 60_000 });
const statusOf = async (runId: string) => (await parts.database.query<{ status: string }>('select status from runs where id = $1', [runId]))[0].status;
const stagesOf = async (runId: string) => {
  const rows = await parts.database.query<{ name: string; status: string; epoch: number }>('select name, status, epoch from stages where run_id = $1 order by ordinal', [runId]);
  return rows.map(({ name, status, epoch }) => `${name} ${status} ${epoch}`);
};
const typesOf = async (runId: string) => (await parts.database.query<{ type: string }>(`select type from events where run_id = $1 and kind = 'event' order by seq`, [runId])).map(({ type }) => type);
const request = async (runId: string, what: 'pause' | 'cancel', status: string) => {
  await parts.database.query(`update runs set ${what}_requested_at = clock_timestamp(), status = $2 where id = $1`, [runId, status]);
};

describe('a claim', () => {
  it('takes a waiting stage at the next epoch, and the run runs', async () => {
    const { runId, ids } = await lay();

    expect(await tryClaim(ids[0], 1)).toEqual({ runId, stageId: ids[0], stage: 'distill', epoch: 1, leaseMs: 60_000 });
    expect(await statusOf(runId)).toBe('running');
    expect(await typesOf(runId)).toEqual(['stage.started', 'job.started']);
  });

  it.each([0, 2, -1, 7])('is refused at epoch %d when 1 is next', async (epoch) => {
    const { ids } = await lay();

    expect(await tryClaim(ids[0], epoch)).toBeUndefined();
  });

  it('is refused for a stage that is blocked, held, done, or unknown', async () => {
    const { runId, ids } = await lay();
    const claim = await mustClaim(parts, ids[0], 1);

    expect(await tryClaim(ids[1], 1)).toBeUndefined();
    expect(await tryClaim(ids[0], 2)).toBeUndefined();
    await parts.ledger.finish(claim, { kind: 'succeeded', account: ACCOUNT });
    expect(await tryClaim(ids[0], 2)).toBeUndefined();
    expect(await tryClaim(999_999, 1)).toBeUndefined();
    expect(await stagesOf(runId)).toEqual(['distill succeeded 1', 'align waiting 0']);
  });

  it.each([
    ['pause', 'pausing'],
    ['cancel', 'queued'],
    ['pause', 'paused'],
  ] as const)('is refused once a %s is requested of a run that is %s', async (what, status) => {
    const { runId, ids } = await lay();
    await request(runId, what, status);

    expect(await tryClaim(ids[0], 1)).toBeUndefined();
  });

  it('goes to one of many who ask at once', async () => {
    const { ids } = await lay();

    const claims = await Promise.all(Array.from({ length: 8 }, () => tryClaim(ids[0], 1)));

    expect(claims.filter((claim) => claim !== undefined)).toHaveLength(1);
  });

  it('takes a stage whose lease ran out, and books the time it was held', async () => {
    const { runId, ids } = await lay();
    await mustClaim(parts, ids[0], 1);
    await parts.database.query(`update stages set claimed_at = clock_timestamp() - interval '100 s', lease_expires_at = clock_timestamp() - interval '40 s' where id = $1`, [ids[0]]);

    expect((await tryClaim(ids[0], 2))?.epoch).toBe(2);
    const [{ device_seconds }] = await parts.database.query<{ device_seconds: number }>('select device_seconds from stages where id = $1', [ids[0]]);
    expect(device_seconds).toBeCloseTo(60, 1);
    expect(await typesOf(runId)).toEqual(['stage.started', 'job.started', 'stage.lost', 'stage.resumed']);
  });
});

describe('a renewal', () => {
  it('goes through while the epoch is current, even after the lease ran out', async () => {
    const { ids } = await lay();
    const claim = await mustClaim(parts, ids[0], 1);
    await expire(parts.database, ids[0]);

    expect(await parts.ledger.renew(claim)).toBe('go');
    expect(await tryClaim(ids[0], 2)).toBeUndefined();
  });

  it('answers that the stage is lost once another has it', async () => {
    const { ids } = await lay();
    const claim = await mustClaim(parts, ids[0], 1);
    await expire(parts.database, ids[0]);
    await mustClaim(parts, ids[0], 2);

    expect(await parts.ledger.renew(claim)).toBe('lost');
  });

  it.each([
    ['pause', 'pausing'],
    ['cancel', 'running'],
  ] as const)('delivers the order to %s', async (what, status) => {
    const { runId, ids } = await lay();
    const claim = await mustClaim(parts, ids[0], 1);
    await request(runId, what, status);

    expect(await parts.ledger.renew(claim)).toBe(what);
  });
});

describe('an outcome', () => {
  it('of a stage that succeeded lets the next one wait, and offers it', async () => {
    const { runId, ids } = await lay(['validate', 'collect'], 'validating_files');
    const claim = await mustClaim(parts, ids[0], 1);

    expect(await parts.ledger.finish(claim, { kind: 'succeeded', account: ACCOUNT, plan: { steps: 3 } })).toEqual({ id: ids[1], queue: 'collect', epoch: 1 });
    expect(await statusOf(runId)).toBe('queued');
    expect(await parts.database.query('select plan from runs where id = $1', [runId])).toEqual([{ plan: { steps: 3 } }]);
    expect(await typesOf(runId)).toEqual(['stage.started', 'stage.finished', 'job.validated']);
  });

  it('of the last stage ends the run', async () => {
    const { runId, ids } = await lay(['export']);
    const claim = await mustClaim(parts, ids[0], 1);

    expect(await parts.ledger.finish(claim, { kind: 'succeeded', account: ACCOUNT })).toBeUndefined();
    expect(await statusOf(runId)).toBe('succeeded');
  });

  it('of a dry run ends it after validate', async () => {
    const { runId, ids } = await lay(['validate', 'collect'], 'validating_files');
    await parts.database.query('update runs set dry_run = true where id = $1', [runId]);

    await parts.ledger.finish(await mustClaim(parts, ids[0], 1), { kind: 'succeeded', account: ACCOUNT });

    expect(await statusOf(runId)).toBe('succeeded');
    expect(await stagesOf(runId)).toEqual(['validate succeeded 1', 'collect cancelled 0']);
  });

  it('of a stage that failed ends the run with its error', async () => {
    const { runId, ids } = await lay();
    const error = { code: 'teacher.unavailable', message: 'gone', param: null };

    await parts.ledger.finish(await mustClaim(parts, ids[0], 1), { kind: 'failed', by: 'teacher', error });

    expect(await stagesOf(runId)).toEqual(['distill failed 1', 'align cancelled 0']);
    expect(await parts.database.query('select status, error from runs where id = $1', [runId])).toEqual([{ status: 'failed', error }]);
  });

  it('of work that cannot go on pauses the run with the cause, and a resume forgets it', async () => {
    const { runId, ids } = await lay();
    const cause = { code: 'storage.disk_full', message: 'no room', param: null };

    expect(await parts.ledger.finish(await mustClaim(parts, ids[0], 1), { kind: 'paused', cause })).toBeUndefined();

    expect(await stagesOf(runId)).toEqual(['distill paused 1', 'align blocked 0']);
    const stands = 'select status, error, pause_cause from runs where id = $1';
    expect(await parts.database.query(stands, [runId])).toEqual([{ status: 'paused', error: null, pause_cause: cause }]);
    await parts.database.transaction((tx) => parts.feed.move(tx, runId, { to: 'queued', event: { type: 'job.queued', message: 'again' } }));
    expect(await parts.database.query(stands, [runId])).toEqual([{ status: 'queued', error: null, pause_cause: null }]);
  });

  it('of a validation that cannot go on ends the run: nothing of it is worth keeping', async () => {
    const { runId, ids } = await lay(['validate', 'collect'], 'validating_files');
    const cause = { code: 'storage.disk_full', message: 'no room', param: null };

    await parts.ledger.finish(await mustClaim(parts, ids[0], 1), { kind: 'paused', cause });

    expect(await parts.database.query('select status, error from runs where id = $1', [runId])).toEqual([{ status: 'failed', error: cause }]);
  });

  it('of work that stopped without an order gives the stage back at once', async () => {
    const { runId, ids } = await lay();
    const claim = await mustClaim(parts, ids[0], 1);

    expect(await parts.ledger.finish(claim, { kind: 'stopped' })).toEqual({ id: ids[0], queue: 'device', epoch: 2 });
    expect(await stagesOf(runId)).toEqual(['distill waiting 1', 'align blocked 0']);
    expect((await tryClaim(ids[0], 2))?.epoch).toBe(2);
  });

  it.each([
    ['pause', 'pausing', 'paused', ['distill paused 1', 'align blocked 0']],
    ['cancel', 'running', 'cancelled', ['distill cancelled 1', 'align cancelled 0']],
  ] as const)('of work that stopped for a %s carries it out', async (what, status, after, stages) => {
    const { runId, ids } = await lay();
    const claim = await mustClaim(parts, ids[0], 1);
    await request(runId, what, status);

    expect(await parts.ledger.finish(claim, { kind: 'stopped' })).toBeUndefined();
    expect(await statusOf(runId)).toBe(after);
    expect(await stagesOf(runId)).toEqual(stages);
  });

  it.each([
    ['pause', 'pausing', 'paused', 'align paused 0'],
    ['cancel', 'running', 'cancelled', 'align cancelled 0'],
  ] as const)('of a stage that succeeded although a %s came lets it act on the next', async (what, status, after, next) => {
    const { runId, ids } = await lay();
    const claim = await mustClaim(parts, ids[0], 1);
    await request(runId, what, status);

    expect(await parts.ledger.finish(claim, { kind: 'succeeded', account: ACCOUNT })).toBeUndefined();
    expect(await statusOf(runId)).toBe(after);
    expect(await stagesOf(runId)).toEqual(['distill succeeded 1', next]);
  });
});

describe('the sweep', () => {
  it('finds stages that wait and stages whose lease ran out, and no others', async () => {
    const { ids: waiting } = await lay();
    const { ids: held } = await lay();
    const { ids: lost } = await lay();
    const { runId, ids: asked } = await lay();
    await mustClaim(parts, held[0], 1);
    await mustClaim(parts, lost[0], 1);
    await expire(parts.database, lost[0]);
    await request(runId, 'cancel', 'queued');

    const due = await parts.ledger.due();

    expect(due).toContainEqual({ id: waiting[0], queue: 'device', epoch: 1 });
    expect(due).toContainEqual({ id: lost[0], queue: 'device', epoch: 2 });
    expect(due.map(({ id }) => id)).not.toContain(held[0]);
    expect(due.map(({ id }) => id)).not.toContain(asked[0]);
  });

  it.each([
    ['pause', 'pausing', 'paused', 'distill paused 1'],
    ['cancel', 'running', 'cancelled', 'distill cancelled 1'],
  ] as const)('carries out a %s that a dead worker cannot', async (what, status, after, stage) => {
    const { runId, ids } = await lay();
    const claim = await mustClaim(parts, ids[0], 1);
    await request(runId, what, status);
    await parts.ledger.settleUnattended();
    expect(await statusOf(runId)).toBe(status);

    await expire(parts.database, ids[0]);
    await parts.ledger.settleUnattended();

    expect(await statusOf(runId)).toBe(after);
    expect((await stagesOf(runId))[0]).toBe(stage);
    expect(await parts.ledger.renew(claim)).toBe('lost');
  });
});

describe('the fence', () => {
  /** Every kind of write that a worker makes. */
  const WRITES: readonly [string, (claim: Claim, value: number) => Promise<unknown>][] = [
    ['a file', (claim, value) => parts.files.commit(claim, [{ name: 'state/a.json', place: `state/a.json.${value}`, bytes: value, sha256: 'x' }])],
    ['the removal of a file', (claim) => parts.files.forget(claim, 'state')],
    ['progress', (claim, value) => parts.reports.progress(claim, { label: 'distill', done: value, total: 9, unit: 'steps', rate: 1 })],
    ['an event', (claim, value) => parts.reports.event(claim, { type: 'warning', message: String(value) })],
    ['a checkpoint', (claim, step) => parts.reports.checkpoint(claim, { kind: 'checkpoint', stage: 'distill', step, name: `checkpoints/distill/${step}`, bytes: 1, expired: [] })],
    ['a quarantine', (claim) => parts.reports.quarantine(claim, { name: 'checkpoints/distill/1', message: 'bad' })],
    ['samples', (claim, value) => parts.reports.samples(claim, 'before', [{ prompt: 'p', teacher: null, student: String(value) }])],
    ['metrics', (claim, step) => parts.reports.metrics(claim, { batchId: crypto.randomUUID(), points: [{ key: 'distill/loss', step, value: 1 }] })],
    ['success', (claim) => parts.ledger.finish(claim, { kind: 'succeeded', account: ACCOUNT })],
    ['failure', (claim) => parts.ledger.finish(claim, { kind: 'failed', by: 'invalid', error: { code: 'a.b', message: '', param: null } })],
    ['the return of the stage', (claim) => parts.ledger.finish(claim, { kind: 'stopped' })],
  ];
  const ENDINGS = 3;

  /** Everything that is stored of a run. */
  async function everything(runId: string): Promise<unknown> {
    const tables = ['run_files', 'events', 'checkpoints', 'run_samples', 'stages', 'metric_series', 'metric_batches'];
    const rows = await Promise.all(tables.map((table) => parts.database.query(`select t::text from ${table} t where run_id = $1 order by 1`, [runId])));
    const points = await parts.database.query('select p::text from metric_points p join metric_series s on s.id = p.series where s.run_id = $1 order by 1', [runId]);
    const attempts = await parts.database.query('select a::text from stage_attempts a join stages s on s.id = a.stage_id where s.run_id = $1 order by a.epoch', [runId]);
    return [rows, points, attempts, await parts.database.query('select r::text from runs r where id = $1', [runId])];
  }

  it.each(WRITES)('refuses %s of a worker that was taken over, and counts it', async (_, write) => {
    const { runId, ids } = await lay();
    const late = await mustClaim(parts, ids[0], 1);
    await parts.files.commit(late, [{ name: 'state/a.json', place: 'state/a.json.0', bytes: 0, sha256: 'x' }]);
    await expire(parts.database, ids[0]);
    await mustClaim(parts, ids[0], 2);
    const before = await everything(runId);
    const refused = parts.ledger.fencedWrites;

    await expect(write(late, 5)).rejects.toMatchObject({ code: 'stages.fenced_out' });

    expect(await everything(runId)).toEqual(before);
    expect(parts.ledger.fencedWrites).toBe(refused + 1);
  });

  it.each(WRITES)('refuses %s once the stage has ended', async (_, write) => {
    const { ids } = await lay();
    const claim = await mustClaim(parts, ids[0], 1);
    await parts.ledger.finish(claim, { kind: 'succeeded', account: ACCOUNT });

    await expect(write(claim, 5)).rejects.toMatchObject({ code: 'stages.fenced_out' });
  });

  it.each([1, 2, 3, 4])('lets no interleaving of two owners change a row after the takeover (seed %d)', async (seed) => {
    const random = sequence(seed);
    const { runId, ids } = await lay();
    let owner = await mustClaim(parts, ids[0], 1);
    for (let takeover = 2; takeover <= 6; takeover++) {
      const late = owner;
      const racing = Array.from({ length: 6 }, () => WRITES[random() % (WRITES.length - ENDINGS)][1](late, random() % 100));
      await expire(parts.database, ids[0]);
      const taken = tryClaim(ids[0], takeover);
      const outcomes = await Promise.allSettled([...racing, taken]);
      for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'stages.fenced_out' });
      owner = (await taken) ?? (await mustClaim(parts, ids[0], takeover));
      const settled = await everything(runId);

      const afterwards = await Promise.allSettled(Array.from({ length: 6 }, () => WRITES[random() % WRITES.length][1](late, random() % 100)));

      expect(afterwards.map(({ status }) => status)).toEqual(Array(6).fill('rejected'));
      expect(await everything(runId)).toEqual(settled);
      const [{ later }] = await parts.database.query<{ later: number }>(
        'select count(*)::int as later from run_files f join stages s on s.run_id = f.run_id where s.id = $1 and f.epoch < s.epoch and f.written_at > s.claimed_at',
        [ids[0]],
      );
      expect(later).toBe(0);
    }
  });
});

/** Whole numbers that a seed decides (Lehmer's generator, modulus 2^31 - 1). */
function sequence(seed: number): () => number {
  let state = seed * 48_271;
  return () => (state = (state * 48_271) % 2_147_483_647);
}
