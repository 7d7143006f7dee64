import { Injectable } from '@nestjs/common';
import { Database, rowsOf, type Tx } from '../database/database.js';
import type { Claim } from './stage-claim.js';
import { FencedOut } from './stage-ledger.errors.js';

/** How strongly a write holds the run's row: a write that also tells the feed changes that row. */
export type RunLock = 'key share' | 'update';

/** Every write of a worker passes here: refused once the stage has another epoch or is no longer running. */
@Injectable()
export class StageFence {
  private count = 0;

  constructor(private readonly database: Database) {}

  /** Writes of this process that were refused. */
  get refused(): number {
    return this.count;
  }

  /**
   * One transaction behind the fence: until it ends, nobody can take the stage over. The run's row is locked before the stage's, as everywhere,
   * so that two writers never wait for each other in a circle. @throws FencedOut; nothing is written then.
   */
  async write<Result>(claim: Claim, lock: RunLock, work: (tx: Tx) => Promise<Result>): Promise<Result> {
    return this.database.transaction(async (tx) => {
      await tx.query(`select 1 from runs where id = $1 for ${lock}`, [claim.runId]);
      const current = await rowsOf(tx, `select 1 from stages where id = $1 and epoch = $2 and status = 'running' for share`, [claim.stageId, claim.epoch]);
      if (current.length > 0) return work(tx);
      this.count++;
      throw new FencedOut(claim);
    });
  }
}
