import { setImmediate as turnEventLoop } from 'node:timers/promises';
import { Aborted } from '../../common/errors.js';

/** Runs calls in the order they were made, one at a time. */
export class Turns {
  private last: Promise<void> = Promise.resolve();

  /** Waits for every earlier turn. @returns the function that ends this turn; it must be called. */
  async take(): Promise<() => void> {
    let end = (): void => {};
    const before = this.last;
    this.last = new Promise((resolve) => (end = resolve));
    await before;
    return end;
  }
}

/** What a pass awaits that nobody waits for. */
export function withoutPause(): Promise<void> {
  return Promise.resolve();
}

/** Lets timers, messages and aborts in. @throws Aborted when the signal has fired. */
export async function breathe(what: string, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) throw new Aborted(what);
  await turnEventLoop();
  if (signal?.aborted) throw new Aborted(what);
}
