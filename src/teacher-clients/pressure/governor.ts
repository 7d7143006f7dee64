import { Aborted } from '../../common/errors.js';
import type { Timing } from '../timing.js';
import { TeacherAway, TeacherUnavailable } from '../teacher-client.js';
import type { Board, Standing } from './board.js';
import { NOTHING_HAPPENED, type PressureReport, type PressureRules } from './endpoint-state.js';
import { RetryQuota } from './retry-quota.js';

/** One attempt that wants to be sent. `now`: it would rather fail than wait for an endpoint that is held or away. */
export interface Entry {
  readonly attempt: 'now' | 'first' | 'retry';
  /** What to do while the circuit is open. */
  readonly patience: 'fails' | 'waits';
  /** Told when the entry begins to wait for an open circuit, and when it no longer does. */
  readonly onAway: (isAway: boolean) => void;
}

/** How an attempt ended. Times are milliseconds. */
export type CallOutcome =
  /** `tries` is 1 when nothing went wrong before. */
  | { readonly kind: 'answered'; readonly tries: number }
  /** 429, 503, or no answer in time. */
  | { readonly kind: 'overloaded'; readonly afterMs?: number }
  /** Another 5xx, or a broken connection. */
  | { readonly kind: 'failed'; readonly afterMs?: number }
  /** An answer that breaks the contract. */
  | { readonly kind: 'invalid' }
  /** It says nothing of how much the endpoint bears: a refusal, or the caller stopped. */
  | { readonly kind: 'other' };

/** The right to send one attempt. */
export interface Permit {
  /** How long it was waited for because the circuit was open, milliseconds. */
  readonly awayMs: number;
  /** Gives the place back; once. */
  leave(outcome: CallOutcome): void;
}

/** What a governor works with. */
export interface GovernorOptions {
  /** The address, for messages. */
  readonly endpoint: string;
  readonly board: Board;
  readonly rules: PressureRules;
  readonly timing: Timing;
  /**
   * How old a standing may be before it is asked for again, and how often it is while anything is under way; milliseconds. Infinity for a board that
   * changes by this governor alone, which is told of everything at once.
   */
  readonly freshMs: number;
  /** Told when the board could not be asked; the last standing holds on. */
  readonly onBoardFailed: (error: unknown) => void;
}

/** Lets attempts of this process to one endpoint go, as many and as soon as the board allows. */
export class Governor {
  private standing: { readonly share: number; readonly heldUntil: number; readonly openedAt?: number } | undefined;
  private seenAt = -Infinity;
  private pending: PressureReport = NOTHING_HAPPENED;
  private slowSentAt: number | undefined;
  private heldUntil = 0;
  private exchanging: Promise<void> = Promise.resolve();
  private nextExchange: Promise<void> | undefined;
  private inFlight = 0;
  private waiting = 0;
  private ticker: NodeJS.Timeout | undefined;
  private readonly wakers = new Set<() => void>();
  private readonly quota: RetryQuota;

  constructor(private readonly options: GovernorOptions) {
    this.quota = new RetryQuota(options.rules);
  }

  /** Waits until the attempt may be sent. @throws Aborted, TeacherUnavailable where it would not wait, TeacherAway when it has waited long enough. */
  async enter(entry: Entry, signal: AbortSignal): Promise<Permit> {
    let awaySince: number | undefined;
    this.waiting++;
    this.tick();
    try {
      for (;;) {
        if (signal.aborted) throw new Aborted('a request to the teacher');
        await this.freshen();
        const waitMs = this.obstacle(entry);
        if (waitMs === 0) break;
        const now = this.options.timing.now();
        if (awaySince === undefined && this.standing?.openedAt !== undefined) {
          awaySince = now;
          entry.onAway(true);
        }
        await this.pause(waitMs, signal);
      }
    } finally {
      this.waiting--;
      if (awaySince !== undefined) entry.onAway(false);
    }
    return this.admit(entry, awaySince);
  }

  /** Notes that a request is out of tries. @returns whether the endpoint is given up for now. */
  async gaveUp(): Promise<boolean> {
    this.pending = { ...this.pending, gaveUp: true };
    await this.exchange();
    return this.standing?.openedAt !== undefined;
  }

  /** Resolves when the board was told of everything so far. */
  async settled(): Promise<void> {
    await this.nextExchange;
    await this.exchanging;
  }

  /** Asks how the endpoint stands before anything more is sent; at once where something waits. */
  look(): void {
    this.seenAt = -Infinity;
    if (this.waiting + this.inFlight > 0) void this.exchange();
  }

  private admit({ attempt }: Entry, awaySince: number | undefined): Permit {
    const sentAt = this.options.timing.now();
    this.quota.count(attempt === 'retry' ? 'retry' : 'first', sentAt);
    this.inFlight++;
    const leave = (outcome: CallOutcome): void => {
      this.book(outcome, sentAt);
      this.inFlight--;
      if (isBad(outcome) || this.inFlight + this.waiting === 0 || this.options.freshMs === Infinity) void this.exchange();
      this.wake();
    };
    return { awayMs: awaySince === undefined ? 0 : sentAt - awaySince, leave };
  }

  /** Milliseconds that the attempt has to wait, Infinity for a free place; 0 when it may go. */
  private obstacle({ attempt, patience }: Entry): number {
    const { endpoint, rules, timing } = this.options;
    const now = timing.now();
    const { share, heldUntil, openedAt } = this.standing ?? { share: 0, heldUntil: 0 };
    if (openedAt !== undefined) {
      if (patience === 'fails' || attempt === 'now') throw new TeacherUnavailable(`the teacher at ${endpoint} is not available: most requests to it failed, and it is left alone until a probe is answered. Check that it runs`);
      const leftMs = openedAt + rules.awayMs - now;
      if (leftMs <= 0) throw new TeacherAway(`the teacher at ${endpoint} has not been available for ${Math.round(rules.awayMs / 1000)} s; the job goes on by itself once it answers. Check that it runs`);
      return leftMs;
    }
    const heldMs = Math.max(heldUntil, this.heldUntil) - now;
    if (heldMs > 0 && attempt === 'now') throw new TeacherUnavailable(`the teacher at ${endpoint} is not available: it asked to be left alone for another ${Math.ceil(heldMs / 1000)} s`);
    if (heldMs > 0) return heldMs;
    if (this.inFlight >= share) return Infinity;
    return attempt === 'retry' ? this.quota.waitMs(now) : 0;
  }

  private book(outcome: CallOutcome, sentAt: number): void {
    const { pending } = this;
    const isFailure = isBad(outcome);
    const isSlow = outcome.kind === 'overloaded' || (outcome.kind === 'answered' && outcome.tries > 1);
    const isClean = outcome.kind === 'answered' && !isSlow && 2 * this.inFlight >= (this.standing?.share ?? 0);
    if (isSlow) this.slowSentAt = Math.max(this.slowSentAt ?? 0, sentAt);
    if ('afterMs' in outcome && outcome.afterMs !== undefined) {
      this.heldUntil = Math.max(this.heldUntil, this.options.timing.now() + Math.min(outcome.afterMs, this.options.rules.retryAfterMostMs));
    }
    this.pending = {
      ...pending,
      clean: pending.clean + (isClean ? 1 : 0),
      calls: pending.calls + (outcome.kind === 'other' ? 0 : 1),
      failures: pending.failures + (isFailure ? 1 : 0),
    };
  }

  private async freshen(): Promise<void> {
    const { timing, freshMs } = this.options;
    if (this.standing && timing.now() - this.seenAt <= freshMs) return;
    await this.exchange();
  }

  /** Begins when the one under way has ended, and takes with it whatever happened until then. */
  private exchange(): Promise<void> {
    this.nextExchange ??= this.exchanging.then(() => {
      this.nextExchange = undefined;
      this.exchanging = this.exchangeOnce();
      return this.exchanging;
    });
    return this.nextExchange;
  }

  private async exchangeOnce(): Promise<void> {
    const { board, timing, onBoardFailed } = this.options;
    const { pending, slowSentAt } = this;
    const now = timing.now();
    const report = {
      ...pending,
      ...(slowSentAt === undefined ? {} : { slowAgeMs: now - slowSentAt }),
      ...(this.heldUntil > now ? { heldMs: this.heldUntil - now } : {}),
    };
    this.pending = NOTHING_HAPPENED;
    this.slowSentAt = undefined;
    this.seenAt = now;
    try {
      this.hear(await board.exchange(report));
    } catch (error) {
      this.pending = joined(pending, this.pending);
      this.slowSentAt = Math.max(slowSentAt ?? -Infinity, this.slowSentAt ?? -Infinity);
      if (this.slowSentAt === -Infinity) this.slowSentAt = undefined;
      onBoardFailed(error);
    }
  }

  private hear({ share, heldMs, openMs }: Standing): void {
    const now = this.options.timing.now();
    this.standing = { share, heldUntil: now + heldMs, ...(openMs === undefined ? {} : { openedAt: now - openMs }) };
    this.wake();
  }

  /** Keeps the standing fresh, and this process known to the board, while anything is under way. */
  private tick(): void {
    if (this.ticker !== undefined || this.options.freshMs === Infinity) return;
    this.ticker = setInterval(() => {
      if (this.inFlight + this.waiting > 0) return void this.exchange();
      clearInterval(this.ticker);
      this.ticker = undefined;
    }, this.options.freshMs);
    this.ticker.unref();
  }

  private wake(): void {
    for (const wake of [...this.wakers]) wake();
  }

  /** Until something changed, the time is over, or the signal fires. */
  private async pause(ms: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const woken = new Promise<void>((resolve) => over.signal.addEventListener('abort', () => resolve(), { once: true }));
    const wake = (): void => over.abort();
    this.wakers.add(wake);
    signal.addEventListener('abort', wake, { once: true });
    if (signal.aborted) wake();
    if (ms === Infinity) await woken;
    else await Promise.race([woken, this.options.timing.wait(ms, over.signal).catch(() => undefined)]);
    this.wakers.delete(wake);
    signal.removeEventListener('abort', wake);
    over.abort();
  }
}

function isBad({ kind }: CallOutcome): boolean {
  return kind === 'overloaded' || kind === 'failed' || kind === 'invalid';
}

function joined(a: PressureReport, b: PressureReport): PressureReport {
  return { clean: a.clean + b.clean, calls: a.calls + b.calls, failures: a.failures + b.failures, gaveUp: a.gaveUp || b.gaveUp };
}
