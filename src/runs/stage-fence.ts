import { rowsOf, type Tx } from '../database/database.js';
import type { Claim } from './stage-claim.js';
import { FencedOut } from './stage-ledger.errors.js';

/** How strongly a write holds the run's row: a write that also tells the feed changes that row. */
export type RunLock = 'key share' | 'update';

/**
 * Opens a worker's write: until the transaction ends, nobody can take the stage over. The run's row is locked before the stage's, as everywhere,
 * so that two writers never wait for each other.
 * @throws FencedOut when the stage has another epoch or is no longer running.
 */
export async function passFence(tx: Tx, claim: Claim, lock: RunLock): Promise<void> {
  await tx.query(`select 1 from runs where id = $1 for ${lock}`, [claim.runId]);
  const current = await rowsOf(tx, `select 1 from stages where id = $1 and epoch = $2 and status = 'running' for share`, [claim.stageId, claim.epoch]);
  if (current.length === 0) throw new FencedOut(claim);
}
