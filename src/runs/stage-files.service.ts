import { Injectable } from '@nestjs/common';
import { Database } from '../database/database.js';
import type { Claim, RunFile } from './stage-claim.js';
import { StageFence } from './stage-fence.js';

export type { RunFile } from './stage-claim.js';

/** The files of a run: a name counts as long as a row, written under a current claim, says where its bytes lie. Writers throw FencedOut. */
@Injectable()
export class StageFiles {
  constructor(
    private readonly database: Database,
    private readonly fence: StageFence,
  ) {}

  /** Every committed file of the run. */
  list({ runId }: Claim): Promise<RunFile[]> {
    return this.database.query<RunFile>('select name, place, bytes, sha256 from run_files where run_id = $1 order by name', [runId]);
  }

  /** Commits files: from here on their names mean these bytes. */
  commit(claim: Claim, files: readonly RunFile[]): Promise<void> {
    return this.fence.write(claim, 'key share', async (tx) => {
      await tx.query(
        `insert into run_files (run_id, name, place, bytes, sha256, stage, epoch)
         select $1, f.name, f.place, f.bytes, f.sha256, $2, $3 from jsonb_to_recordset($4::jsonb) as f(name text, place text, bytes bigint, sha256 text)
         on conflict (run_id, name) do update set place = excluded.place, bytes = excluded.bytes, sha256 = excluded.sha256,
           stage = excluded.stage, epoch = excluded.epoch, written_at = clock_timestamp()`,
        [claim.runId, claim.stage, claim.epoch, JSON.stringify(files)],
      );
    });
  }

  /** Forgets a file, or a directory with everything in it. */
  forget(claim: Claim, name: string): Promise<void> {
    return this.fence.write(claim, 'key share', async (tx) => {
      await tx.query(`delete from run_files where run_id = $1 and (name = $2 or starts_with(name, $2 || '/'))`, [claim.runId, name]);
    });
  }
}
