import { Injectable } from '@nestjs/common';
import { Database, rowsOf, type Tx } from '../database/database.js';

/** What rows say that a finished run has on disk, relative to its directory. */
export interface NamedFiles {
  /** Of single files. */
  readonly places: ReadonlySet<string>;
  /** Directories of checkpoints that are listed. */
  readonly checkpoints: readonly string[];
}

const FINISHED = `status in ('succeeded', 'failed', 'cancelled')`;

/** Every query of the clean-up. */
@Injectable()
export class RunCleanupRepository {
  constructor(private readonly database: Database) {}

  transaction<Result>(work: (tx: Tx) => Promise<Result>): Promise<Result> {
    return this.database.transaction(work);
  }

  /** Ids of finished runs, the one that ended first first. */
  async finished(): Promise<string[]> {
    const rows = await this.database.query<{ id: string }>(`select id from runs where ${FINISHED} order by finished_at, id`);
    return rows.map(({ id }) => id);
  }

  /** Those of the ids that are runs. */
  async known(ids: readonly string[]): Promise<Set<string>> {
    const rows = await this.database.query<{ id: string }>('select id from runs where id = any($1)', [ids]);
    return new Set(rows.map(({ id }) => id));
  }

  /** Locks a run that is finished against every change until the transaction ends. @returns whether there is such a run */
  async lockFinished(tx: Tx, runId: string): Promise<boolean> {
    return (await rowsOf(tx, `select 1 from runs where id = $1 and ${FINISHED} for update`, [runId])).length > 0;
  }

  async named(runId: string): Promise<NamedFiles> {
    const files = await this.database.query<{ place: string }>('select place from run_files where run_id = $1', [runId]);
    const checkpoints = await this.database.query<{ name: string }>(`select name from checkpoints where run_id = $1 and state = 'committed'`, [runId]);
    return { places: new Set(files.map(({ place }) => place)), checkpoints: checkpoints.map(({ name }) => name) };
  }

  /** Names nothing in these folders of the run any longer. @param folders such as `checkpoints` */
  async forget(tx: Tx, runId: string, folders: readonly string[]): Promise<void> {
    await tx.query(`delete from run_files where run_id = $1 and split_part(name, '/', 1) = any($2)`, [runId, folders]);
    await tx.query(`update checkpoints set state = 'expired' where run_id = $1 and state = 'committed' and split_part(name, '/', 1) = any($2)`, [runId, folders]);
  }
}
