import { Injectable } from '@nestjs/common';
import type { Tx } from '../database/database.js';
import type { StageOffer } from '../queue/queue-names.js';
import type { Claim, ClaimOutcome, LeaseAnswer, StageTask } from './stage-claim.js';
import { StageFence } from './stage-fence.js';
import { StageLedgerRepository } from './stage-ledger.repository.js';
import { StageOutcomes } from './stage-outcomes.js';
import { StageRestarts } from './stage-restarts.service.js';

export type { Claim, ClaimOutcome, FailureClass, LeaseAnswer, StageFailure, StageTask } from './stage-claim.js';
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
    private readonly outcomes: StageOutcomes,
    private readonly restarts: StageRestarts,
  ) {}

  /** Writes of this process that the fence refused. */
  get fencedWrites(): number {
    return this.fence.refused;
  }

  /** Takes a stage. @returns undefined when it is not to be had at this epoch, its run may not run now, or was given up because workers vanish at this stage. */
  async claim(request: ClaimRequest): Promise<Claim | undefined> {
    const runId = await this.repository.runOf(request.stageId);
    if (runId === undefined) return undefined;
    return this.repository.transaction(async (tx) => {
      const run = await this.repository.lockRun(tx, runId);
      const taken = run && (await this.repository.take(tx, request));
      if (!taken) return undefined;
      const claim: Claim = { runId, stageId: request.stageId, stage: taken.name, epoch: taken.epoch, leaseMs: request.leaseMs };
      if (taken.was_lost && (await this.isGivenUp(tx, claim))) return undefined;
      await this.restarts.begin(tx, claim, request.nodeId);
      await this.outcomes.begin(tx, run, claim);
      return claim;
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
    return this.fence.write(claim, 'update', async (tx) => this.outcomes.apply(tx, claim, await this.restarts.weigh(tx, claim, outcome)));
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

  /** Lets runs go on that paused because their teacher was away, once it answers; a pause that somebody asked for stays. @returns how many. */
  async resumeForTeachers(): Promise<number> {
    const runs = await this.repository.pausedForTeachers();
    const resumed = await Promise.all(runs.map((runId) => this.repository.transaction((tx) => this.outcomes.resumeForTeacher(tx, runId))));
    return resumed.filter(Boolean).length;
  }

  /** Books a lost lease, and ends the run over it when there were too many. @returns whether it did. */
  private async isGivenUp(tx: Tx, claim: Claim): Promise<boolean> {
    const error = await this.restarts.takeOver(tx, claim);
    await this.outcomes.tellLoss(tx, claim, error ? 'given_up' : 'taken_over');
    if (error) await this.outcomes.apply(tx, claim, { kind: 'failed', by: 'lost', error });
    return error !== undefined;
  }
}
