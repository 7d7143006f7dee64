import { beforeEach, describe, expect, it } from 'vitest';
import type { Timing } from '../timing.js';
import { TeacherAway, TeacherUnavailable } from '../teacher-client.js';
import type { Board, Standing } from './board.js';
import { DEFAULT_RULES, type PressureReport } from './endpoint-state.js';
import { Governor, type Entry } from './governor.js';

const FIRST: Entry = { attempt: 'first', patience: 'waits', onAway: () => undefined };
const never = new AbortController().signal;

/** Says what it was told to say, and keeps what it was told. */
class TestBoard implements Board {
  readonly reports: PressureReport[] = [];
  standing: Standing = { share: 2, heldMs: 0 };
  readonly exchange = (report: PressureReport): Promise<Standing> => {
    this.reports.push(report);
    return Promise.resolve(this.standing);
  };
}

let board: TestBoard;
let nowMs: number;
let waits: number[];
let governor: Governor;

beforeEach(() => {
  board = new TestBoard();
  nowMs = 1_000;
  waits = [];
  const timing: Timing = {
    now: () => nowMs,
    jitter: () => 0.5,
    wait: (ms) => {
      waits.push(ms);
      nowMs += ms;
      return Promise.resolve();
    },
  };
  governor = new Governor({ endpoint: 'http://teacher.test', board, rules: DEFAULT_RULES, timing, freshMs: Infinity, onBoardFailed: () => undefined });
});

describe('the governor', () => {
  it('lets as many go as its share allows, and the next when one leaves', async () => {
    const [first] = await Promise.all([governor.enter(FIRST, never), governor.enter(FIRST, never)]);
    let entered = false;
    const third = governor.enter(FIRST, never).then((permit) => {
      entered = true;
      return permit;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(entered).toBe(false);

    first.leave({ kind: 'answered', tries: 1 });
    await third;
    expect(entered).toBe(true);
  });

  it('reports clean successes of a full window, slow-downs with their age, and failures', async () => {
    const [first, second] = await Promise.all([governor.enter(FIRST, never), governor.enter(FIRST, never)]);
    first.leave({ kind: 'answered', tries: 1 });
    await governor.gaveUp();
    nowMs += 50;
    second.leave({ kind: 'answered', tries: 2 });
    await governor.gaveUp();
    const third = await governor.enter(FIRST, never);
    nowMs += 7;
    third.leave({ kind: 'overloaded', afterMs: 300 });
    await governor.gaveUp();

    const told = board.reports.filter(({ calls }) => calls > 0);
    expect(told).toMatchObject([
      { clean: 1, calls: 1, failures: 0 },
      { clean: 0, calls: 1, failures: 0, slowAgeMs: 50 },
      { clean: 0, calls: 1, failures: 1, slowAgeMs: 7, heldMs: 300 },
    ]);
  });

  it('sends nothing while the endpoint is held, whatever the board says', async () => {
    (await governor.enter(FIRST, never)).leave({ kind: 'overloaded', afterMs: 30_000 });
    await expect(governor.enter({ ...FIRST, attempt: 'now' }, never)).rejects.toThrow(TeacherUnavailable);
    await governor.enter(FIRST, never);
    expect(waits).toEqual([30_000]);
  });

  it('says that it waits for an open circuit, and gives up when that lasts too long', async () => {
    const away: boolean[] = [];
    board.standing = { share: 2, heldMs: 0, openMs: 100_000 };
    await expect(governor.enter({ ...FIRST, onAway: (isAway) => away.push(isAway) }, never)).rejects.toThrow(TeacherAway);
    expect(waits).toEqual([DEFAULT_RULES.awayMs - 100_000]);
    expect(away).toEqual([true, false]);
  });

  it('fails at once on an open circuit where nobody waits', async () => {
    board.standing = { share: 2, heldMs: 0, openMs: 0 };
    await expect(governor.enter({ ...FIRST, patience: 'fails' }, never)).rejects.toThrow(TeacherUnavailable);
    expect(waits).toEqual([]);
  });

  it('reports again what the board did not hear, and goes on as it last stood', async () => {
    const permit = await governor.enter(FIRST, never);
    const hear = board.exchange;
    Object.assign(board, { exchange: () => Promise.reject(new Error('away')) });
    permit.leave({ kind: 'failed' });
    await governor.gaveUp();
    Object.assign(board, { exchange: hear });
    (await governor.enter(FIRST, never)).leave({ kind: 'answered', tries: 1 });
    await governor.gaveUp();
    expect(board.reports.at(-1)).toMatchObject({ calls: 2, failures: 1, gaveUp: true });
  });
});
