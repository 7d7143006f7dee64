import { availableParallelism } from 'node:os';
import type { Contestant } from './contest.js';

/** How a peer's threads compute and wait. */
export interface ThreadSetting {
  readonly threads: number;
  readonly wait: 'passive' | 'active';
}

/** What is tried for a peer: all cores, asleep or spinning between two products, and one core alone. */
export function threadSettings(): ThreadSetting[] {
  const threads = availableParallelism();
  const all: ThreadSetting[] = [{ threads, wait: 'passive' }, { threads, wait: 'active' }];
  return threads === 1 ? all.slice(0, 1) : [...all, { threads: 1, wait: 'passive' }];
}

/** The variables that say it to OpenMP; nothing else of a peer is set. */
export function threadVariables({ threads, wait }: ThreadSetting): Readonly<Record<string, string>> {
  return { OMP_NUM_THREADS: String(threads), MKL_NUM_THREADS: String(threads), OMP_WAIT_POLICY: wait, HF_HUB_OFFLINE: '1', TOKENIZERS_PARALLELISM: 'false' };
}

/** Runs behind the first, of which the fastest counts: a neighbour's burst must not choose a peer's setting. */
const TIMED_RUNS = 3;

/** The setting in which `open`'s work is the fastest once it has warmed up; each gets a process of its own. */
export async function fastestSetting(settings: readonly ThreadSetting[], open: (setting: ThreadSetting) => Promise<Contestant>, clock: () => number): Promise<ThreadSetting> {
  let best: { readonly setting: ThreadSetting; readonly milliseconds: number } | undefined;
  for (const setting of settings) {
    const milliseconds = await fastestRun(await open(setting), clock);
    if (best === undefined || milliseconds < best.milliseconds) best = { setting, milliseconds };
  }
  if (best === undefined) throw new RangeError('there is no setting to choose from');
  return best.setting;
}

async function fastestRun(side: Contestant, clock: () => number): Promise<number> {
  let fastest = Infinity;
  try {
    await side.run();
    for (let run = 0; run < TIMED_RUNS; run++) {
      const begin = clock();
      await side.run();
      fastest = Math.min(fastest, clock() - begin);
    }
  } finally {
    await side.close();
  }
  return fastest;
}

/** As a person would say it. */
export function settingText({ threads, wait }: ThreadSetting): string {
  return `${threads} thread${threads === 1 ? '' : 's'}, ${wait === 'active' ? 'spinning' : 'asleep'} while they wait`;
}
