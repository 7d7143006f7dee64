import { Injectable } from '@nestjs/common';
import { Database, rowsOf, type Tx } from '../database/database.js';
import type { Stage } from '../distillation/stage-order.js';
import type { QueueName, StageOffer } from '../queue/queue-names.js';
import type { RunStatus } from './run-states.js';
import type { Claim, StageTask } from './stage-claim.js';

/** A run's row as claims and outcomes need it; locked until the transaction ends. */
export interface LockedRun {
  readonly id: string;
  readonly status: RunStatus;
  readonly model: string;
  readonly suffix: string;
  readonly dry_run: boolean;
  readonly has_started: boolean;
  readonly pause_requested: boolean;
  readonly cancel_requested: boolean;
}

/** A stage just claimed. `was_lost` says that its last holder's lease ran out. */
export interface ClaimedRow {
  readonly name: Stage;
  readonly epoch: number;
  readonly was_lost: boolean;
}

/** A stage whose lease the worker may take: waiting, or given up by a holder that no longer renews. */
const CLAIMABLE = `(s.status = 'waiting' or (s.status = 'running' and s.lease_expires_at < clock_timestamp()))`;
/** A run whose stages may be worked on. */
const WORKABLE = `(r.status in ('validating_files', 'queued', 'running') and r.pause_requested_at is null and r.cancel_requested_at is null)`;
/** Device time up to the last renewal of a lost lease, or up to now. */
const HELD = `case when s.queue = 'device' then greatest(0, extract(epoch from least(clock_timestamp(), s.lease_expires_at) - s.claimed_at)) else 0 end`;

/** Every query on the stages of runs that workers make. The only clock is the database's. */
@Injectable()
export class StageLedgerRepository {
  constructor(private readonly database: Database) {}

  transaction<Result>(work: (tx: Tx) => Promise<Result>): Promise<Result> {
    return this.database.transaction(work);
  }

  /** Locks a run's row. Lock it before any of its stages. */
  async lockRun(tx: Tx, runId: string): Promise<LockedRun | undefined> {
    const [run] = await rowsOf<LockedRun>(
      tx,
      `select id, status, model, suffix, dry_run, started_at is not null as has_started,
         pause_requested_at is not null as pause_requested, cancel_requested_at is not null as cancel_requested
       from runs where id = $1 for update`,
      [runId],
    );
    return run;
  }

  async runOf(stageId: number): Promise<string | undefined> {
    const [row] = await this.database.query<{ run_id: string }>('select run_id from stages where id = $1', [stageId]);
    return row?.run_id;
  }

  /** Takes a stage if it may be taken at exactly this epoch, by a node that does not drain. The run's row must be locked. */
  async take(tx: Tx, { stageId, epoch, nodeId, leaseMs }: { stageId: number; epoch: number; nodeId: string; leaseMs: number }): Promise<ClaimedRow | undefined> {
    const [row] = await rowsOf<ClaimedRow>(
      tx,
      `with open as (select s.id, s.status = 'running' as was_lost, ${HELD} as held from stages s join runs r on r.id = s.run_id
                     where s.id = $1 and s.epoch = $2 - 1 and ${CLAIMABLE} and ${WORKABLE}
                       and not exists (select from nodes n where n.id = $3 and n.drain_requested_at is not null) for update of s)
       update stages s set epoch = $2, status = 'running', node_id = $3, waiting_for = null, claimed_at = clock_timestamp(),
         started_at = coalesce(started_at, clock_timestamp()), lease_expires_at = clock_timestamp() + $4 * interval '1 millisecond',
         device_seconds = device_seconds + case when open.was_lost then open.held else 0 end
       from open where s.id = open.id returning s.name, s.epoch, open.was_lost`,
      [stageId, epoch, nodeId, leaseMs],
    );
    return row;
  }

  /** Lengthens a lease while the epoch is current, expired or not. @returns undefined when the stage belongs to another. */
  async renew({ stageId, epoch, leaseMs }: Claim): Promise<{ readonly pause: boolean; readonly cancel: boolean; readonly drain: boolean } | undefined> {
    const [row] = await this.database.query<{ pause: boolean; cancel: boolean; drain: boolean }>(
      `with held as (update stages set lease_expires_at = clock_timestamp() + $3 * interval '1 millisecond'
                     where id = $1 and epoch = $2 and status = 'running' returning run_id, node_id)
       select r.pause_requested_at is not null as pause, r.cancel_requested_at is not null as cancel, coalesce(n.drain_requested_at is not null, false) as drain
       from held join runs r on r.id = held.run_id left join nodes n on n.id = held.node_id`,
      [stageId, epoch, leaseMs],
    );
    return row;
  }

  async task(runId: string): Promise<StageTask> {
    const [row] = await this.database.query<StageTask>(
      `select model, training_file as "trainingFile", validation_file as "validationFile", teacher_id as "teacherId", seed, spec from runs where id = $1`,
      [runId],
    );
    return row;
  }

  /** Every stage that a worker may claim now, oldest run first. */
  due(): Promise<StageOffer[]> {
    return this.database.query<StageOffer>(
      `select s.id, s.queue, s.epoch + 1 as epoch from stages s join runs r on r.id = s.run_id
       where s.status in ('waiting', 'running') and ${CLAIMABLE} and ${WORKABLE} order by r.created_at, s.id limit 1000`,
    );
  }

  /** Runs that were asked to stop while no worker holds a stage of theirs. */
  async unattended(): Promise<string[]> {
    const rows = await this.database.query<{ id: string }>(
      `select r.id from runs r where r.status in ('validating_files', 'queued', 'running', 'pausing', 'paused')
         and (r.cancel_requested_at is not null or (r.pause_requested_at is not null and r.status <> 'paused'))
         and not exists (select 1 from stages s where s.run_id = r.id and s.status = 'running' and s.lease_expires_at >= clock_timestamp())
       limit 1000`,
    );
    return rows.map(({ id }) => id);
  }

  /** Runs that paused because their teacher was away, and whose teacher is no longer known to be. */
  async pausedForTeachers(): Promise<string[]> {
    const rows = await this.database.query<{ id: string }>(
      `select r.id from runs r join teachers t on t.id = r.teacher_id left join teacher_endpoints e on e.base_url = t.base_url
       where r.status = 'paused' and r.pause_cause->>'code' = 'teacher.away' and r.pause_requested_at is null and r.cancel_requested_at is null and e.opened_at is null
       limit 1000`,
    );
    return rows.map(({ id }) => id);
  }

  /** Lets the paused stages of a run wait for a worker again. */
  async wake(tx: Tx, runId: string): Promise<void> {
    await tx.query(`update stages set status = 'waiting' where run_id = $1 and status = 'paused'`, [runId]);
  }

  /** Whether a worker holds a stage of the run. */
  async isHeld(tx: Tx, runId: string): Promise<boolean> {
    const rows = await rowsOf(tx, `select 1 from stages where run_id = $1 and status = 'running' and lease_expires_at >= clock_timestamp()`, [runId]);
    return rows.length > 0;
  }

  /** Ends a hold: writes where the stage stands now and books its device time. */
  async leave(tx: Tx, { stageId }: Claim, end: { readonly status: 'waiting' | 'succeeded' | 'failed'; readonly account?: object; readonly error?: object }): Promise<void> {
    await tx.query(
      `update stages s set status = $2::text, node_id = case when $2 <> 'waiting' then node_id end,
         device_seconds = device_seconds + ${HELD}, lease_expires_at = null, account = coalesce($3::jsonb, account), error = $4::jsonb,
         finished_at = case when $2 <> 'waiting' then clock_timestamp() end
       where id = $1`,
      [stageId, end.status, end.account ? JSON.stringify(end.account) : null, end.error ? JSON.stringify(end.error) : null],
    );
  }

  async queueOf(tx: Tx, stageId: number): Promise<QueueName> {
    const [row] = await rowsOf<{ queue: QueueName }>(tx, 'select queue from stages where id = $1', [stageId]);
    return row.queue;
  }

  /** Lets the first blocked stage of a run wait for a worker. @returns undefined when there is none: the run is whole. */
  async unblock(tx: Tx, runId: string): Promise<StageOffer | undefined> {
    const [row] = await rowsOf<StageOffer>(
      tx,
      `update stages set status = 'waiting' where id = (select id from stages where run_id = $1 and status = 'blocked' order by ordinal limit 1) returning id, queue, epoch + 1 as epoch`,
      [runId],
    );
    return row;
  }

  /** Puts what nobody holds of a run to rest: waiting stages and those whose lease ran out pause, or everything open is cancelled. */
  async rest(tx: Tx, runId: string, to: 'paused' | 'cancelled'): Promise<void> {
    const open = to === 'paused' ? ['waiting', 'running'] : ['blocked', 'waiting', 'running', 'paused'];
    await tx.query(
      `update stage_attempts a set ended_at = clock_timestamp(), how = 'lost' from stages s
       where s.run_id = $1 and s.status = 'running' and a.stage_id = s.id and a.epoch = s.epoch and a.ended_at is null`,
      [runId],
    );
    await tx.query(
      `update stages s set status = $2::text, device_seconds = device_seconds + case when s.status = 'running' then ${HELD} else 0 end, node_id = null,
         lease_expires_at = null, finished_at = case when $2 = 'cancelled' then clock_timestamp() end where run_id = $1 and status = any($3)`,
      [runId, to, open],
    );
  }

  async keepPlan(tx: Tx, runId: string, plan: object): Promise<void> {
    await tx.query('update runs set plan = $2::jsonb where id = $1', [runId, JSON.stringify(plan)]);
  }

  async keepResult(tx: Tx, runId: string, { report, model }: { readonly report: object | undefined; readonly model: string | undefined }): Promise<void> {
    await tx.query('update runs set report = $2::jsonb, fine_tuned_model = $3 where id = $1', [runId, report ? JSON.stringify(report) : null, model ?? null]);
  }
}
