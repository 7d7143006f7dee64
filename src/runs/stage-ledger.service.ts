import { Injectable } from '@nestjs/common';
import { newId } from '../common/ids.js';
import { Database, rowsOf, type Tx } from '../database/database.js';
import type { AnswerPair, CheckpointEvent } from '../distillation/events.js';
import { MetricsService, type MetricBatch } from '../metrics/metrics.service.js';
import type { StageOffer } from '../queue/queue-names.js';
import { RunFeed, type FeedEntry } from './run-feed.service.js';
import type { Claim, ClaimOutcome, LeaseAnswer, RunFile, StageProgress, StageTask } from './stage-claim.js';
import { passFence, type RunLock } from './stage-fence.js';
import { FencedOut } from './stage-ledger.errors.js';
import { StageLedgerRepository, type ClaimedRow, type LockedRun } from './stage-ledger.repository.js';
import { StageOutcomes } from './stage-outcomes.js';

export type { Claim, ClaimOutcome, LeaseAnswer, RunFile, StageFailure, StageProgress, StageTask } from './stage-claim.js';
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
 * Who may work on which stage, decided by Postgres alone: claims by epoch, leases by the database's clock, and every write of a worker
 * behind a fence. Writers throw FencedOut when the stage has been taken over or has ended; nothing is written then.
 */
@Injectable()
export class StageLedger {
  private refused = 0;

  constructor(
    private readonly database: Database,
    private readonly repository: StageLedgerRepository,
    private readonly feed: RunFeed,
    private readonly outcomes: StageOutcomes,
    private readonly points: MetricsService,
  ) {}

  /** Writes of this process that the fence refused. */
  get fencedWrites(): number {
    return this.refused;
  }

  /** Takes a stage. @returns undefined when it is not to be had at this epoch, or its run may not run now. */
  async claim(request: ClaimRequest): Promise<Claim | undefined> {
    const runId = await this.repository.runOf(request.stageId);
    if (runId === undefined) return undefined;
    return this.database.transaction(async (tx) => {
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
    return orders.pause ? 'pause' : 'go';
  }

  /** What the stage works on. */
  task(claim: Claim): Promise<StageTask> {
    return this.repository.task(claim.runId);
  }

  /** Every committed file of the run. */
  files({ runId }: Claim): Promise<RunFile[]> {
    return this.database.query<RunFile>('select name, place, bytes, sha256 from run_files where run_id = $1 order by name', [runId]);
  }

  /** Commits files: from here on their names mean these bytes. */
  writeFiles(claim: Claim, files: readonly RunFile[]): Promise<void> {
    return this.write(claim, 'key share', async (tx) => {
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
  removeFiles(claim: Claim, name: string): Promise<void> {
    return this.write(claim, 'key share', async (tx) => {
      await tx.query(`delete from run_files where run_id = $1 and (name = $2 or starts_with(name, $2 || '/'))`, [claim.runId, name]);
    });
  }

  /** Shows how far the stage has come. */
  progress(claim: Claim, progress: StageProgress): Promise<void> {
    return this.write(claim, 'update', async (tx) => {
      await tx.query('update stages set progress = $2::jsonb where id = $1', [claim.stageId, JSON.stringify(progress)]);
      const message = `${progress.label}: ${progress.done} of ${progress.total} ${progress.unit}`;
      await this.feed.tell(tx, claim.runId, { kind: 'progress', type: 'stage.progress', message, data: { stage: claim.stage, ...progress } });
    });
  }

  /** Adds an event to the run's feed; its data carries stage and epoch. */
  event(claim: Claim, { data, ...entry }: Omit<FeedEntry, 'kind'>): Promise<void> {
    return this.write(claim, 'update', async (tx) => {
      await this.feed.tell(tx, claim.runId, { ...entry, kind: 'event', data: { stage: claim.stage, epoch: claim.epoch, ...data } });
    });
  }

  /** Lists a committed checkpoint, and takes those that made room for it off the list. */
  checkpoint(claim: Claim, { stage, step, name, bytes, metrics, expired }: CheckpointEvent): Promise<void> {
    return this.write(claim, 'update', async (tx) => {
      const [row] = await rowsOf<{ id: string }>(
        tx,
        `insert into checkpoints (id, run_id, stage, step, epoch, name, bytes, metrics, state) values ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, 'committed')
         on conflict (run_id, name) do update set bytes = excluded.bytes, metrics = excluded.metrics, state = 'committed' returning id`,
        [newId('ftckpt'), claim.runId, stage, step, claim.epoch, name, bytes, JSON.stringify(metrics ?? {})],
      );
      await tx.query(`update checkpoints set state = 'expired' where run_id = $1 and state = 'committed' and name = any($2)`, [claim.runId, expired]);
      const data = { stage, epoch: claim.epoch, step, checkpoint: row.id };
      await this.feed.tell(tx, claim.runId, { kind: 'event', type: 'checkpoint.saved', message: `${stage}: checkpoint after step ${step}`, data });
    });
  }

  /** Marks a checkpoint that was found damaged; the run goes on from an older one. */
  quarantine(claim: Claim, { name, message }: { readonly name: string; readonly message: string }): Promise<void> {
    return this.write(claim, 'update', async (tx) => {
      const rows = await rowsOf<{ id: string }>(tx, `update checkpoints set state = 'quarantined' where run_id = $1 and name = $2 returning id`, [claim.runId, name]);
      const data = { stage: claim.stage, epoch: claim.epoch, name, checkpoint: rows[0]?.id ?? null };
      await this.feed.tell(tx, claim.runId, { kind: 'event', level: 'warn', type: 'checkpoint.quarantined', message, data });
    });
  }

  /** Keeps the answers of an evaluation, replacing those under the same label. */
  samples(claim: Claim, label: string, answers: readonly AnswerPair[]): Promise<void> {
    return this.write(claim, 'key share', async (tx) => {
      await tx.query('delete from run_samples where run_id = $1 and label = $2', [claim.runId, label]);
      await tx.query(
        `insert into run_samples (run_id, label, index, prompt, teacher, student)
         select $1, $2, a.index, a.prompt, a.teacher, a.student from jsonb_to_recordset($3::jsonb) as a(index int, prompt text, teacher text, student text)`,
        [claim.runId, label, JSON.stringify(answers.map(({ prompt, teacher, student }, index) => ({ index, prompt: storable(prompt), teacher: teacher && storable(teacher), student: storable(student) })))],
      );
    });
  }

  /** Stores measurements; a batch that comes again under its id changes nothing. */
  metrics(claim: Claim, batch: Pick<MetricBatch, 'batchId' | 'points'>): Promise<void> {
    return this.write(claim, 'update', async (tx) => {
      const { inserted, series, alarms } = await this.points.ingest(tx, { ...batch, runId: claim.runId, attempt: claim.epoch });
      if (inserted > 0) await this.feed.tell(tx, claim.runId, { kind: 'metrics', type: 'metrics.added', message: `${inserted} points`, data: { series } });
      for (const { key, attempt, step, value } of alarms) {
        const data = { key, attempt, step, value };
        await this.feed.tell(tx, claim.runId, { kind: 'event', level: 'warn', type: 'warning', message: `${key} is ${value} at step ${step}`, data });
      }
    });
  }

  /** Ends the hold. @returns the stage to offer once this is committed: the next one, or the same given back. */
  finish(claim: Claim, outcome: ClaimOutcome): Promise<StageOffer | undefined> {
    return this.write(claim, 'update', (tx) => this.outcomes.apply(tx, claim, outcome));
  }

  /** Every stage that a worker may claim now. */
  due(): Promise<StageOffer[]> {
    return this.repository.due();
  }

  /** Ends the runs that were asked to pause or stop while no worker holds them. @returns how many. */
  async settleUnattended(): Promise<number> {
    const runs = await this.repository.unattended();
    const settled = await Promise.all(runs.map((runId) => this.database.transaction((tx) => this.outcomes.settle(tx, runId))));
    return settled.filter(Boolean).length;
  }

  /** One transaction behind the fence. @throws FencedOut */
  private async write<Result>(claim: Claim, lock: RunLock, work: (tx: Tx) => Promise<Result>): Promise<Result> {
    try {
      return await this.database.transaction(async (tx) => {
        await passFence(tx, claim, lock);
        return work(tx);
      });
    } catch (error) {
      if (error instanceof FencedOut) this.refused++;
      throw error;
    }
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

/** Models may write the one character that Postgres cannot store. */
function storable(text: string): string {
  return text.replaceAll('\0', '\uFFFD');
}
