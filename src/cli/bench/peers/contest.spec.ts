import { expect, it } from 'vitest';
import { compete, curveFigure, curveTable, memoryFigure, peerTable, rateFigure, type Contestant, type Outcome, type Result } from './contest.js';

/** A side whose n-th run takes `seconds[n]` of a clock that only runs advance, and brings `losses[n]`. */
function fakeSide(name: string, { seconds, losses = [], log, clock }: { seconds: number[]; losses?: number[]; log: string[]; clock: { now: number } }): Contestant {
  let runs = 0;
  return {
    name,
    run: (): Promise<Outcome> => {
      log.push(`${name} runs`);
      clock.now += 1000 * seconds[runs];
      return Promise.resolve({ lossNats: losses[runs++] });
    },
    freeze: () => void log.push(`${name} stops`),
    thaw: () => void log.push(`${name} wakes`),
    peakBytes: () => 3 * 2 ** 20,
    close: () => Promise.resolve(),
  };
}

it('lets one side run while the other is stopped, in turns, and times what follows the warm-up', async () => {
  const clock = { now: 5 };
  const log: string[] = [];
  const ours = fakeSide('ours', { seconds: [9, 1, 2], losses: [3, 2, 1], log, clock });
  const theirs = fakeSide('theirs', { seconds: [8, 4, 5], losses: [3, 2, 1], log, clock });
  const [first, second] = await compete([ours, theirs], { warmUps: 1, rounds: 2 }, () => clock.now);
  expect(first).toEqual({ name: 'ours', seconds: [1, 2], losses: [3, 2, 1], peakBytes: 3 * 2 ** 20 });
  expect(second).toEqual({ name: 'theirs', seconds: [4, 5], losses: [3, 2, 1], peakBytes: 3 * 2 ** 20 });
  const round = ['ours wakes', 'ours runs', 'ours stops', 'theirs wakes', 'theirs runs', 'theirs stops'];
  expect(log).toEqual(['ours stops', 'theirs stops', ...round, ...round, ...round, 'ours wakes', 'theirs wakes']);
});

const OURS: Result = { name: 'limbeck', seconds: [2, 1, 4], losses: [10, 8, 6], peakBytes: 2 ** 30 };
const THEIRS: Result = { name: 'peer 1.0', seconds: [8, 4, 6], losses: [10, 8.5, 6.1], peakBytes: 4 * 2 ** 30 };

it('compares rates by the medians of the runs', () => {
  expect(rateFigure('step', [OURS, THEIRS], { amount: 600, unit: 'tok' })).toEqual({ name: 'step', peer: 'peer 1.0', ours: 300, theirs: 100, unit: 'tok/s', ratio: 3 });
});

it('compares the most memory of both', () => {
  expect(memoryFigure('peak', [OURS, THEIRS])).toEqual({ name: 'peak', peer: 'peer 1.0', ours: 1024, theirs: 4096, unit: 'MiB', ratio: 0.25 });
});

it('shows the step at which two loss curves differ most', () => {
  expect(curveFigure('loss', [OURS, THEIRS])).toEqual({ name: 'loss, step 2 of 3, where the losses differ most', peer: 'peer 1.0', ours: 8, theirs: 8.5, unit: 'nats', ratio: 8 / 8.5 });
  expect(curveTable([OURS, THEIRS])).toBe('10.0000 8.0000 6.0000  limbeck\n10.0000 8.5000 6.1000  peer 1.0');
});

it('prints figures as a table', () => {
  const lines = peerTable([{ name: 'step', peer: 'peer 1.0', ours: 300, theirs: 1.5, unit: 'tok/s', ratio: 200 }]).split('\n');
  expect(lines[2]).toBe('| step | peer 1.0 | 300.0 | 1.5000 | tok/s | 200.000 |');
});
