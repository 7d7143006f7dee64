import { Injectable } from '@nestjs/common';
import type { Tx } from '../database/database.js';
import type { StageOffer } from '../queue/queue-names.js';
import { RunFeed } from './run-feed.service.js';
import type { Claim, ClaimOutcome, LeaseAnswer, StageTask } from './stage-claim.js';
import { StageFence } from './stage-fence.js';
import { StageLedgerRepository, type ClaimedRow, type LockedRun } from './stage-ledger.repository.js';
import { StageOutcomes } from './stage-outcomes.js';

export type { Claim, ClaimOutcome, LeaseAnswer, StageFailure, StageTask } from './stage-claim.js';
export { FencedOut } from './stage-ledger.errors.js';

/** The channel that tells of orders to a stage's holder; its payload is the stage's id. */
export const STAGE_ORDERS = 'stage_orders';

/** Who claims a stage. */
export interface ClaimRequest {
  readonly stageId: number;
  /** The epoch the claim takes: the row's plus one. */
  readonly epoch: number;
  readonly nodeId: string;
  readonly leaseMs: number;
}

/**
 * Who may work on which stage, decided by Postgres alone: claims by epoch, leases by the database's clock, outcomes behind the fence.
 */
@Injectable()
export class StageLedger {
  constructor(
    private readonly repository: StageLedgerRepository,
    private readonly fence: StageFence,
    private readonly feed: RunFeed,
    private readonly outcomes: StageOutcomes,
  ) {}

  /** Writes of this process that the fence refused. */
  get fencedWrites(): number {
    return this.fence.refused;
  }

  /** Takes a stage. @returns undefined when it is not to be had at this epoch, or its run may not run now. */
  async claim(request: ClaimRequest): Promise<Claim | undefined> {
    const runId = await this.repository.runOf(request.stageId);
    if (runId === undefined) return undefined;
    return this.repository.transaction(async (tx) => {
      const run = await this.repository.lockRun(tx, runId);
      const taken = run && (await this.repository.take(tx, request));
      if (!taken) return undefined;
      await this.tellClaim(tx, run, taken);
      return { runId, stageId: request.stageId, stage: taken.name, epoch: taken.epoch, leaseMs: request.leaseMs };
    });
  }

  /** Lengthens the lease, expired or not, while the epoch is current. @returns what the holder is to do. */
  async renew(claim: Claim): Promise<LeaseAnswer> {
    const orders = await this.repository.renew(claim);
    if (!orders) return 'lost';
    if (orders.cancel) return 'cancel';
    if (orders.pause) return 'pause';
    return orders.drain ? 'drain' : 'go';
  }

  /** What the stage works on. */
  task(claim: Claim): Promise<StageTask> {
    return this.repository.task(claim.runId);
  }

  /** Ends the hold. @returns the stage to offer once this is committed: the next one, or the same given back. @throws FencedOut */
  finish(claim: Claim, outcome: ClaimOutcome): Promise<StageOffer | undefined> {
    return this.fence.write(claim, 'update', (tx) => this.outcomes.apply(tx, claim, outcome));
  }

  /** Every stage that a worker may claim now. */
  due(): Promise<StageOffer[]> {
    return this.repository.due();
  }

  /** Ends the runs that were asked to pause or stop while no worker holds them. @returns how many. */
  async settleUnattended(): Promise<number> {
    const runs = await this.repository.unattended();
    const settled = await Promise.all(runs.map((runId) => this.repository.transaction((tx) => this.outcomes.settle(tx, runId))));
    return settled.filter(Boolean).length;
  }

  private async tellClaim(tx: Tx, run: LockedRun, { name, epoch, was_lost }: ClaimedRow): Promise<void> {
    const data = { stage: name, epoch };
    if (was_lost) await this.feed.tell(tx, run.id, { kind: 'event', level: 'warn', type: 'stage.lost', message: `${name}: its worker is gone; another goes on`, data });
    const again = epoch > 1;
    await this.feed.tell(tx, run.id, { kind: 'event', type: again ? 'stage.resumed' : 'stage.started', message: `${name} ${again ? 'goes on' : 'begins'}`, data });
    if (run.status !== 'queued') return;
    const began = run.has_started ? { type: 'job.resumed', message: 'the job runs again' } : { type: 'job.started', message: 'the job runs' };
    await this.feed.move(tx, run.id, { to: 'running', event: began });
  }
}
