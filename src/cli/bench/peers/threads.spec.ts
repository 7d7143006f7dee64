import { expect, it } from 'vitest';
import type { Contestant } from './contest.js';
import { fastestSetting, settingText, threadVariables, type ThreadSetting } from './threads.js';

const SETTINGS: ThreadSetting[] = [
  { threads: 2, wait: 'passive' },
  { threads: 2, wait: 'active' },
  { threads: 1, wait: 'passive' },
];

it('takes the setting with the fastest run behind the first, and closes every process that it tried', async () => {
  let now = 0;
  const runs = new Map([['passive 2', [1, 30, 25, 35]], ['active 2', [500, 90, 80, 20]], ['passive 1', [1, 40, 21, 30]]]);
  const closed: string[] = [];
  const open = ({ threads, wait }: ThreadSetting): Promise<Contestant> => {
    const left = [...(runs.get(`${wait} ${threads}`) ?? [])];
    const run = (): Promise<object> => {
      now += left.shift() ?? NaN;
      return Promise.resolve({});
    };
    return Promise.resolve({ name: 'fake', run, freeze: () => {}, thaw: () => {}, peakBytes: () => 0, close: () => Promise.resolve(void closed.push(`${wait} ${threads}`)) });
  };
  expect(await fastestSetting(SETTINGS, open, () => now)).toEqual({ threads: 2, wait: 'active' });
  expect(closed).toEqual(['passive 2', 'active 2', 'passive 1']);
});

it('tells OpenMP of threads and waiting', () => {
  expect(threadVariables(SETTINGS[1])).toMatchObject({ OMP_NUM_THREADS: '2', OMP_WAIT_POLICY: 'active' });
  expect(settingText(SETTINGS[2])).toBe('1 thread, asleep while they wait');
});
