import { Injectable } from '@nestjs/common';
import { Database } from '../database/database.js';
import type { CheckpointRow, EventRow, SampleRow } from './runs.rows.js';

const EVENT_COLUMNS = 'seq, kind, floor(extract(epoch from at))::int8 as at, level, type, message, data';

/** What runs left behind: their feed, checkpoints and samples. */
@Injectable()
export class RunHistoryRepository {
  constructor(private readonly database: Database) {}

  /** Events that are listed, newest first. @param before only those with a smaller number */
  events(runId: string, { before, limit }: { readonly before: number | undefined; readonly limit: number }): Promise<EventRow[]> {
    return this.database.query<EventRow>(
      `select ${EVENT_COLUMNS} from events where run_id = $1 and kind = 'event' and seq < $2 order by seq desc limit $3`,
      [runId, before ?? Number.MAX_SAFE_INTEGER, limit],
    );
  }

  /** The whole feed in order. @param after only entries with a greater number */
  feed(runId: string, { after, limit }: { readonly after: number; readonly limit: number }): Promise<EventRow[]> {
    return this.database.query<EventRow>(`select ${EVENT_COLUMNS} from events where run_id = $1 and seq > $2 order by seq limit $3`, [runId, after, limit]);
  }

  /** Newest first; undefined when `after` is no checkpoint of the run. */
  async checkpoints(runId: string, { after, limit }: { readonly after: string | undefined; readonly limit: number }): Promise<CheckpointRow[] | undefined> {
    if (after !== undefined && !(await this.hasCheckpoint(runId, after))) return undefined;
    return this.database.query<CheckpointRow>(
      `select id, run_id, stage, step, name, bytes, metrics, state, floor(extract(epoch from created_at))::int8 as created_at from checkpoints
       where run_id = $1 and ($2::text is null or (created_at, id) < ((select created_at from checkpoints where id = $2), $2))
       order by checkpoints.created_at desc, id desc limit $3`,
      [runId, after ?? null, limit],
    );
  }

  /** By label and index. @param after the last one seen */
  samples(runId: string, { label, after, limit }: { readonly label: string | undefined; readonly after: { readonly label: string; readonly index: number } | undefined; readonly limit: number }): Promise<SampleRow[]> {
    return this.database.query<SampleRow>(
      `select label, index, prompt, teacher, student from run_samples
       where run_id = $1 and ($2::text is null or label = $2) and ($3::text is null or (label, index) > ($3, $4::int)) order by label, index limit $5`,
      [runId, label ?? null, after?.label ?? null, after?.index ?? null, limit],
    );
  }

  private async hasCheckpoint(runId: string, id: string): Promise<boolean> {
    return (await this.database.query('select 1 from checkpoints where run_id = $1 and id = $2', [runId, id])).length > 0;
  }
}
