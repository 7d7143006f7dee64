import { setTimeout as sleep } from 'node:timers/promises';

/** Time and chance, replaced by tests. */
export interface Timing {
  /** Milliseconds from any fixed point. */
  readonly now: () => number;
  /** Rejects when the signal fires. */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Uniform in [0, 1). */
  readonly jitter: () => number;
}

/** Node's timers fire at once for longer times. */
const LONGEST_MS = 2 ** 31 - 1;

export const SYSTEM_TIMING: Timing = {
  now: () => performance.now(),
  wait: async (ms, signal) => {
    await sleep(Math.min(ms, LONGEST_MS), undefined, { signal });
  },
  jitter: Math.random,
};
