import { setTimeout as sleep } from 'node:timers/promises';
import { DatabaseBusy, DatabaseUnavailable } from '../database/database.errors.js';

/** How often a database that is away is asked again, milliseconds, and what ends the waiting. */
export interface Patience {
  readonly retryMs: number;
  readonly until: AbortSignal;
}

/** Whether a write may succeed later as it is. */
export function mayPass(error: unknown): boolean {
  return error instanceof DatabaseUnavailable || error instanceof DatabaseBusy;
}

/** Does `work` again for as long as the database cannot be asked or is too busy. Give it only what may happen twice. @throws what `work` threw last once `until` fires. */
export async function patiently<Result>(work: () => Promise<Result>, { retryMs, until }: Patience): Promise<Result> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!mayPass(error) || until.aborted) throw error;
    }
    await sleep(retryMs, undefined, { signal: until }).catch(() => undefined);
  }
}
