import { Injectable } from '@nestjs/common';
import { rowsOf, type Tx } from '../database/database.js';
import type { Claim, FailureClass } from './stage-claim.js';

/** How an attempt at a stage ended: as a class of failure, or as it should. */
export type AttemptEnd = FailureClass | 'succeeded' | 'paused' | 'cancelled';

/** Which attempt. */
export type AttemptKey = Pick<Claim, 'runId' | 'stageId' | 'epoch'>;

/** Ended attempts like the one asked about, itself included. */
export interface AttemptCounts {
  /** Steps that it reached: those it told of, else those of the checkpoint it began with; null where there was none. */
  readonly step: number | null;
  /** Of the whole run, of its class, in the last 24 hours. */
  readonly today: number;
  /** Of the whole run, of the classes `infra` and `trainer_error`, within the window asked for. */
  readonly rapid: number;
  /** Of the stage, of its class, with no new checkpoint in between. */
  readonly stuck: number;
  /** Of those the ones that reached the same step. */
  readonly atStep: number;
}

const REACHED = 'coalesce(a.step, a.checkpoint_step)';

const COUNTS = `
  with this as (select a.*, ${REACHED} as reached from stage_attempts a where a.stage_id = $1 and a.epoch = $2),
       past as (select a.how, a.ended_at, ${REACHED} as reached, a.stage_id = this.stage_id and a.checkpoint_step is not distinct from this.checkpoint_step as is_stuck
                from stage_attempts a join stages s on s.id = a.stage_id cross join this where s.run_id = $3 and a.ended_at is not null)
  select this.reached as step,
    count(*) filter (where past.how = this.how and past.ended_at > clock_timestamp() - interval '24 hours')::int as today,
    count(*) filter (where past.how in ('infra', 'trainer_error') and past.ended_at > clock_timestamp() - $4 * interval '1 millisecond')::int as rapid,
    count(*) filter (where past.how = this.how and past.is_stuck)::int as stuck,
    count(*) filter (where past.how = this.how and past.is_stuck and past.reached is not distinct from this.reached)::int as "atStep"
  from this cross join past group by this.reached`;

/** Every query on the attempts at stages: one row a claim, ended by its holder or by whoever takes over. */
@Injectable()
export class StageAttemptsRepository {
  async begin(tx: Tx, { stageId, epoch, nodeId }: { readonly stageId: number; readonly epoch: number; readonly nodeId: string }): Promise<void> {
    await tx.query('insert into stage_attempts (stage_id, epoch, node_id) values ($1, $2, $3)', [stageId, epoch, nodeId]);
  }

  async end(tx: Tx, { runId, stageId, epoch }: AttemptKey, how: AttemptEnd, code?: string): Promise<void> {
    await tx.query(
      `update stage_attempts a set ended_at = clock_timestamp(), how = $3, code = $4,
         checkpoint_step = (select max(c.step) from checkpoints c where c.run_id = $5 and c.stage = s.name and c.state = 'committed')
       from stages s where a.stage_id = $1 and a.epoch = $2 and s.id = a.stage_id`,
      [stageId, epoch, how, code ?? null, runId],
    );
  }

  /** @param windowMs of `rapid`. @returns undefined for an attempt that has no row. */
  async count(tx: Tx, { runId, stageId, epoch }: AttemptKey, windowMs: number): Promise<AttemptCounts | undefined> {
    const [counts] = await rowsOf<AttemptCounts>(tx, COUNTS, [stageId, epoch, runId, windowMs]);
    return counts;
  }
}
