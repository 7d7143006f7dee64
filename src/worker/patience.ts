import { setTimeout as sleep } from 'node:timers/promises';
import { isUnavailable } from '../database/violations.js';

/** How often a database that is away is asked again, milliseconds, and what ends the waiting. */
export interface Patience {
  readonly retryMs: number;
  readonly until: AbortSignal;
}

/** Does `work` again for as long as the database cannot be asked. Give it only what may happen twice. @throws what `work` threw last once `until` fires. */
export async function patiently<Result>(work: () => Promise<Result>, { retryMs, until }: Patience): Promise<Result> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isUnavailable(error) || until.aborted) throw error;
    }
    await sleep(retryMs, undefined, { signal: until }).catch(() => undefined);
  }
}
