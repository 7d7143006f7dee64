import { countsOf, EMPTY_TALLY, tallied, type Tally } from './tally.js';

const RETRY_SHARE = 0.1;

/** Keeps retries at a tenth of what is asked, and lets a few through where little is asked. */
export class RetryQuota {
  private sent: Tally = EMPTY_TALLY;

  constructor(private readonly rules: { readonly windowMs: number; readonly retryFloor: number }) {}

  /** Milliseconds until a retry may be sent; 0 when it may be now. @param now milliseconds of any clock, never running back. */
  waitMs(now: number): number {
    const { windowMs, retryFloor } = this.rules;
    this.count('nothing', now);
    const { all, marked } = countsOf(this.sent);
    if (marked < Math.max(retryFloor, RETRY_SHARE * (all - marked))) return 0;
    return Math.max(1, this.sent.at + windowMs / 2 - now);
  }

  /** Counts what was sent. */
  count(sent: 'first' | 'retry' | 'nothing', now: number): void {
    this.sent = tallied(this.sent, { all: sent === 'nothing' ? 0 : 1, marked: sent === 'retry' ? 1 : 0 }, { now, windowMs: this.rules.windowMs });
  }
}
