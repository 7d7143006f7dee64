import type { Claim, LeaseAnswer } from '../runs/stage-ledger.service.js';
import { patiently } from './patience.js';

/** Why a stage's work is stopped. Only `lost` forbids to say so to the ledger. */
export type StopReason = 'pause' | 'cancel' | 'drain' | 'shutdown' | 'lost';

/** What keeps a hold. */
export interface HoldOptions {
  readonly claim: Claim;
  readonly renew: (claim: Claim) => Promise<LeaseAnswer>;
  /** Between renewals, and between tries while the database is away. Milliseconds. */
  readonly renewMs: number;
  readonly retryMs: number;
  readonly onRenewalFailed: (error: unknown) => void;
}

/** A lease must not run out under a worker that still works: it stops itself this early, and its engine without it. */
export const SELF_FENCE_SHARE = 2 / 3;

/**
 * A worker's hold of a stage: renews the lease, passes on what the renewals order, and gives up by itself when the database cannot be
 * reached for two thirds of a lease, before anybody can take the stage over.
 */
export class Hold {
  readonly claim: Claim;
  private readonly stopping = new AbortController();
  private readonly killing = new AbortController();
  private stoppedFor: StopReason | undefined;
  private renewal: NodeJS.Timeout | undefined;
  private selfFence: NodeJS.Timeout | undefined;
  private renewing = false;
  private lookAgain = false;
  private ended = false;

  constructor(private readonly options: HoldOptions) {
    this.claim = options.claim;
    this.trust();
    this.plan();
  }

  /** Fires when the work is to end at its next step boundary. */
  get stopSignal(): AbortSignal {
    return this.stopping.signal;
  }

  /** Fires when the engine is to be killed and nothing more to be written. */
  get killSignal(): AbortSignal {
    return this.killing.signal;
  }

  get reason(): StopReason | undefined {
    return this.stoppedFor;
  }

  /** Asks for orders now; called when a notification says that there may be some. */
  look(): void {
    clearTimeout(this.renewal);
    void this.renew();
  }

  /** Stops the work. The first reason stays, but a stage once lost is lost. */
  stop(reason: StopReason): void {
    if (reason === 'lost' || this.stoppedFor === undefined) this.stoppedFor = reason;
    this.stopping.abort();
    if (reason === 'lost') this.kill();
  }

  /** Ends the work at once, whatever it is doing. */
  kill(): void {
    this.stopping.abort();
    this.killing.abort();
  }

  /** Does a write of the stage's, again for as long as the database is away and the work is not killed. */
  patiently<Result>(work: () => Promise<Result>): Promise<Result> {
    return patiently(work, { retryMs: this.options.retryMs, until: this.killSignal });
  }

  /** No more renewals; the stage is finished or lost. */
  end(): void {
    this.ended = true;
    clearTimeout(this.renewal);
    clearTimeout(this.selfFence);
  }

  private plan(): void {
    this.renewal = setTimeout(() => void this.renew(), this.options.renewMs);
  }

  private async renew(): Promise<void> {
    this.lookAgain = this.renewing;
    if (this.renewing) return;
    this.renewing = true;
    const sentAt = performance.now();
    try {
      this.obey(await this.options.renew(this.claim), sentAt);
    } catch (error) {
      this.options.onRenewalFailed(error);
    }
    this.renewing = false;
    if (this.ended || this.killing.signal.aborted) return;
    if (this.lookAgain) this.look();
    else this.plan();
  }

  private obey(answer: LeaseAnswer, sentAt: number): void {
    if (this.ended) return;
    if (answer === 'lost') return this.stop('lost');
    this.trust(performance.now() - sentAt);
    if (answer !== 'go') this.stop(answer);
  }

  /** The lease counts from when its renewal was sent. */
  private trust(ageMs = 0): void {
    clearTimeout(this.selfFence);
    this.selfFence = setTimeout(() => this.stop('lost'), this.claim.leaseMs * SELF_FENCE_SHARE - ageMs);
  }
}
