import type { VllmLimits } from './vllm-options.js';

/** Why an attempt is worth another. `afterMs` is what the server asked all who ask it to wait. */
export interface Trouble {
  readonly kind: 'busy' | 'broken' | 'socket' | 'timeout' | 'invalid';
  readonly afterMs?: number;
}

/** A server that ran out of memory does so again: a 500 is tried twice more. */
const BROKEN_TRIES = 3;

/** Decides whether and when one request is tried again: exponential backoff with full jitter. */
export class Tries {
  private failed = 0;
  private broken = 0;

  constructor(
    private readonly limits: Pick<VllmLimits, 'tries' | 'retryWaitMs' | 'retryWaitMostMs'>,
    private readonly jitter: () => number,
  ) {}

  /** @returns milliseconds to wait before the next attempt, or undefined when there shall be none. */
  next({ kind, afterMs }: Trouble): number | undefined {
    if (kind === 'timeout') return undefined; // it had all the time its work may take
    if (kind === 'broken' && ++this.broken >= BROKEN_TRIES) return undefined;
    if (++this.failed >= this.limits.tries) return undefined;
    if (afterMs !== undefined) return 0; // the endpoint is held for all
    const { retryWaitMs, retryWaitMostMs } = this.limits;
    return retryWaitMs + this.jitter() * (Math.min(retryWaitMostMs, retryWaitMs * 2 ** this.failed) - retryWaitMs);
  }
}

/** Milliseconds of a Retry-After header: whole seconds or an HTTP date. @param nowMs the wall clock, Unix milliseconds. */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d+$/.test(header.trim())) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}
