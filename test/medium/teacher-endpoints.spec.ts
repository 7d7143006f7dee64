import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { DatabaseListener } from '../../src/database/listener.js';
import { DEFAULT_RULES, NOTHING_HAPPENED, probed, type PressureReport, type PressureRules } from '../../src/teacher-clients/pressure/endpoint-state.js';
import { Governor } from '../../src/teacher-clients/pressure/governor.js';
import { SYSTEM_TIMING } from '../../src/teacher-clients/timing.js';
import { TEACHER_ENDPOINTS, TeacherEndpoints } from '../../src/teachers/teacher-endpoints.service.js';
import { SharedBoard } from '../../src/worker/teacher-board.js';
import { freshDatabase, type TestDatabase } from '../support/service-servers.js';

const URL = 'http://teacher.test:8000';
/** So long that nobody's turn ends, and nobody falls silent, within a test. */
const SYNC_MS = 3_600_000;
const HALF_FAILED: Partial<PressureReport> = { calls: 10, failures: 10 };

let postgres: TestDatabase;
let database: Database;
let endpoints: TeacherEndpoints;
let listener: DatabaseListener;

beforeAll(async () => {
  postgres = await freshDatabase();
  const owner = await createDataSource({ url: postgres.url, poolSize: 1, statementMs: 10_000, connectMs: 5_000 }).initialize();
  for (const id of ['a', 'b']) await owner.query(`insert into nodes (id, name, devices, memory_bytes, engine, version, threads, queues) values ($1, $1, '[]', 1, 'reference', '0', 1, '{device}')`, [id]);
  await owner.destroy();
  database = new Database(await createDataSource({ url: postgres.workerUrl, poolSize: 4, statementMs: 10_000, connectMs: 5_000 }).initialize());
  listener = new DatabaseListener({ url: postgres.workerUrl, connectMs: 5_000, retryMs: 50 });
  endpoints = new TeacherEndpoints(database);
});
afterAll(async () => {
  await listener.onApplicationShutdown();
  await database.onApplicationShutdown();
  await postgres.close();
});
afterEach(() => database.query('delete from teacher_endpoints'));

const boardOf = (node: string, rules: Partial<PressureRules> = {}): SharedBoard =>
  new SharedBoard({ endpoints, baseUrl: URL, nodeId: () => Promise.resolve(node), rules: { ...DEFAULT_RULES, ...rules }, syncMs: SYNC_MS });
const report = (change: Partial<PressureReport> = {}): PressureReport => ({ ...NOTHING_HAPPENED, ...change });
/** Resolves at the first notification of the endpoint. */
const told = (): Promise<void> =>
  new Promise((resolve) => {
    const stop = listener.listen(TEACHER_ENDPOINTS, (baseUrl) => {
      if (baseUrl !== URL) return;
      stop();
      resolve();
    });
  });
const listening = (): Promise<void> =>
  new Promise((resolve) => {
    const stop = listener.listen(TEACHER_ENDPOINTS, (baseUrl) => {
      if (baseUrl === undefined) resolve();
      stop();
    });
  });

describe('the workers that ask one endpoint', () => {
  it('share its limit, and what one adds to it or takes from it', async () => {
    const [a, b] = [boardOf('a', { concurrency: 8 }), boardOf('b', { concurrency: 8 })];
    expect((await a.exchange(report())).share).toBe(8);
    expect([(await b.exchange(report())).share, (await a.exchange(report())).share]).toEqual([4, 4]);
    await a.exchange(report({ clean: 8 }));
    const grown = [await a.exchange(report()), await b.exchange(report())].map(({ share }) => share);
    expect(grown.sort()).toEqual([4, 5]);
    await b.exchange(report({ calls: 1, failures: 1, slowAgeMs: 0 }));
    expect([(await a.exchange(report())).share, (await b.exchange(report())).share]).toEqual([2, 2]);
  });

  it('take turns where there are fewer places than workers', async () => {
    const [a, b] = [boardOf('a', { concurrency: 1 }), boardOf('b', { concurrency: 1 })];
    await a.exchange(report());
    await b.exchange(report());
    const shares = [await a.exchange(report()), await b.exchange(report())].map(({ share }) => share);
    expect(shares.sort()).toEqual([0, 1]);
  });

  it('count only those that were heard of lately', async () => {
    await boardOf('a', { concurrency: 8 }).exchange(report());
    await database.query(`update teacher_endpoint_askers set seen_at = seen_at - interval '11 hours' where node_id = 'a'`);
    expect((await boardOf('b').exchange(report())).share).toBe(8);
  });

  it('are all held by what one of them was asked to wait, and hear of it at once', async () => {
    await listening();
    const heard = told();
    await boardOf('a').exchange(report({ calls: 1, failures: 1, heldMs: 30_000 }));
    await heard;
    const { heldMs } = await boardOf('b').exchange(report());
    expect(heldMs).toBeGreaterThan(20_000);
    expect(heldMs).toBeLessThanOrEqual(30_000);
  });

  it('open the circuit together, send one probe among them, and all go on when it is answered', async () => {
    const [a, b] = [boardOf('a', { probeMs: 1 }), boardOf('b', { probeMs: 1 })];
    expect((await a.exchange(report(HALF_FAILED))).openMs).toBeUndefined();
    expect((await b.exchange(report(HALF_FAILED))).openMs).toBe(0);
    expect((await a.exchange(report())).openMs).toBeGreaterThanOrEqual(0);

    await database.query(`update teacher_endpoints set probe_at = clock_timestamp()`);
    const taken = await Promise.all([1, 2, 3].map(() => endpoints.takeProbes(60_000)));
    expect(taken.flat()).toEqual([URL]);

    await endpoints.settle(URL, (row, now) => probed(row, 'failed', { now, rules: DEFAULT_RULES }));
    expect(await endpoints.takeProbes(60_000)).toEqual([]);
    await endpoints.settle(URL, (row, now) => probed(row, 'answered', { now, rules: DEFAULT_RULES }));
    expect([(await a.exchange(report())).openMs, (await b.exchange(report())).openMs]).toEqual([undefined, undefined]);
  });

  it('lose nothing of what they report at the same time', async () => {
    const boards = ['a', 'b'].map((node) => boardOf(node, { circuitCalls: 41 }));
    await Promise.all(Array.from({ length: 40 }, (_, place) => boards[place % 2].exchange(report({ calls: 1, failures: 1 }))));
    const [{ calls }] = await database.query<{ calls: { all: number; allBefore: number; marked: number; markedBefore: number } }>('select calls from teacher_endpoints');
    expect([calls.all + calls.allBefore, calls.marked + calls.markedBefore]).toEqual([40, 40]);
  });

  it('start where nobody asked before, two at once', async () => {
    const shares = await Promise.all(['a', 'b'].map((node) => boardOf(node).exchange(report())));
    expect(shares.map(({ heldMs }) => heldMs)).toEqual([0, 0]);
  });
});

describe('a governor on the shared board', () => {
  it('lets no request go that another worker was asked to hold back', async () => {
    const governorOf = (node: string): Governor =>
      new Governor({ endpoint: URL, board: boardOf(node), rules: DEFAULT_RULES, timing: SYSTEM_TIMING, freshMs: SYNC_MS, onBoardFailed: (error) => expect(error).toBeUndefined() });
    const [a, b] = [governorOf('a'), governorOf('b')];
    const entry = { attempt: 'now', patience: 'waits', onAway: () => undefined } as const;
    const signal = new AbortController().signal;
    const [first, second] = await Promise.all([a.enter(entry, signal), b.enter(entry, signal)]);
    second.leave({ kind: 'answered', tries: 1 });

    const stop = listener.listen(TEACHER_ENDPOINTS, () => b.look());
    const heard = told();
    first.leave({ kind: 'overloaded', afterMs: 60_000 });
    await heard;
    await expect(b.enter(entry, signal)).rejects.toThrow(/left alone for another (59|60) s/);
    stop();
    await Promise.all([a.settled(), b.settled()]);
  });
});
