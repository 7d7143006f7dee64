import { setMaxListeners } from 'node:events';
import { Aborted } from '../../common/errors.js';

interface Waiting {
  readonly cost: number;
  readonly enter: () => void;
}

/** Lets pieces of work in, in order, while the sum of their costs stays within `limit`; one that alone exceeds it goes alone. */
export class CostGate {
  private used = 0;
  private readonly queue: Waiting[] = [];

  constructor(private readonly limit: number) {}

  /** Runs `work` once there is room. @throws Aborted when the signal fires before. */
  async within<T>(cost: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.enter(cost, signal);
    try {
      return await work();
    } finally {
      this.used -= cost;
      this.admit();
    }
  }

  private enter(cost: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        cost,
        enter: () => {
          signal.removeEventListener('abort', leave);
          resolve();
        },
      };
      const leave = (): void => {
        this.queue.splice(this.queue.indexOf(waiting), 1);
        reject(new Aborted('a request to the teacher'));
        this.admit();
      };
      if (signal.aborted) {
        reject(new Aborted('a request to the teacher'));
        return;
      }
      signal.addEventListener('abort', leave, { once: true });
      this.queue.push(waiting);
      this.admit();
    });
  }

  private admit(): void {
    while (this.queue.length > 0 && (this.used === 0 || this.used + this.queue[0].cost <= this.limit)) {
      const [next] = this.queue.splice(0, 1);
      this.used += next.cost;
      next.enter();
    }
  }
}

/**
 * Runs all jobs together and yields each result as it comes. When one fails, when the caller stops reading or when the signal fires, the others
 * are stopped and waited for.
 */
export async function* asTheyFinish<T>(jobs: readonly ((signal: AbortSignal) => Promise<T>)[], signal?: AbortSignal): AsyncGenerator<T> {
  const stop = new AbortController();
  setMaxListeners(0, stop.signal); // one for each job; Node takes more than ten for a leak
  const pass = (): void => stop.abort();
  if (signal?.aborted) pass();
  signal?.addEventListener('abort', pass);
  const results: T[] = [];
  const failures: unknown[] = [];
  let wake = (): void => undefined;
  const running = jobs.map(async (job) => {
    try {
      results.push(await job(stop.signal));
    } catch (error) {
      failures.push(error);
    }
    wake();
  });
  try {
    for (let left = jobs.length; left > 0; left--) {
      while (results.length === 0 && failures.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      if (failures.length > 0) throw failures[0];
      yield* results.splice(0, 1);
    }
  } finally {
    signal?.removeEventListener('abort', pass);
    stop.abort();
    await Promise.all(running);
  }
}
