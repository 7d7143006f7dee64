import type { Timing, VllmLimits } from './vllm-options.js';

/** Why an attempt is worth another. `afterMs` is what the server asked to wait. */
export interface Trouble {
  readonly kind: 'busy' | 'broken' | 'socket';
  readonly afterMs?: number;
}

/** A server that ran out of memory does so again: a 500 is tried twice more, whatever time is left. */
const BROKEN_RETRIES = 2;

/** Decides whether and when one request is tried again: exponential backoff with jitter, never before the server's own Retry-After. */
export class RetryBudget {
  private readonly began: number;
  private retries = 0;
  private broken = 0;

  constructor(
    private readonly limits: VllmLimits,
    private readonly timing: Timing,
  ) {
    this.began = timing.now();
  }

  /** @returns milliseconds to wait before the next attempt, or undefined when there shall be none. */
  next(trouble: Trouble): number | undefined {
    if (trouble.kind === 'broken' && ++this.broken > BROKEN_RETRIES) return undefined;
    const { retryMs, retryWaitMs, retryWaitMostMs } = this.limits;
    const backoff = Math.min(retryWaitMostMs, retryWaitMs * 2 ** this.retries++) * (0.5 + 0.5 * this.timing.jitter());
    const waitMs = Math.max(backoff, trouble.afterMs ?? 0);
    return this.timing.now() - this.began + waitMs <= retryMs ? waitMs : undefined;
  }
}

/** Milliseconds of a Retry-After header: whole seconds or an HTTP date. @param nowMs the wall clock, Unix milliseconds. */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d+$/.test(header.trim())) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}
