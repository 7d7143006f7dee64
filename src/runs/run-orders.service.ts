import { Injectable } from '@nestjs/common';
import { Database, type Tx } from '../database/database.js';
import type { StageOffer } from '../queue/queue-names.js';
import { RunFeed } from './run-feed.service.js';
import { isFinished } from './run-states.js';
import { JobFinished, JobNotPausable, JobNotPaused, RunUnknown } from './runs.errors.js';
import { RunsRepository } from './runs.repository.js';
import type { RunRow, StageRow } from './runs.rows.js';
import { StageOutcomes } from './stage-outcomes.js';

/** Orders to a job: stop for good, stand still, go on. What no worker holds obeys at once; a worker obeys at its next step boundary. */
@Injectable()
export class RunOrders {
  constructor(
    private readonly database: Database,
    private readonly repository: RunsRepository,
    private readonly feed: RunFeed,
    private readonly outcomes: StageOutcomes,
  ) {}

  /** Cancels a job; again changes nothing. Committed checkpoints stay. @throws RunUnknown, JobFinished when it ended otherwise */
  cancel(id: string): Promise<void> {
    return this.order(id, async (tx, run, stages) => {
      if (run.status === 'cancelled' || run.cancel_requested_at !== null) return;
      if (isFinished(run.status)) throw new JobFinished(id, run.status, 'cancelled');
      await this.repository.request(tx, id, 'cancel');
      await this.feed.tell(tx, id, { kind: 'event', type: 'job.cancel_requested', message: 'the job is to be cancelled' });
      await this.settle(tx, id, stages);
    });
  }

  /** Pauses a job: its stage saves a checkpoint and frees the device. Again changes nothing. @throws RunUnknown, JobFinished, JobNotPausable */
  pause(id: string): Promise<void> {
    return this.order(id, async (tx, run, stages) => {
      if (run.status === 'paused' && run.pause_cause) return this.keepPaused(tx, id);
      if (run.status === 'paused' || run.status === 'pausing') return;
      if (isFinished(run.status)) throw new JobFinished(id, run.status, 'paused');
      if (run.status === 'validating_files') throw new JobNotPausable(id, 'it is still being validated; try again when it is queued or running');
      if (run.cancel_requested_at !== null) throw new JobNotPausable(id, 'it is being cancelled');
      await this.repository.request(tx, id, 'pause');
      if (run.status === 'running') {
        await this.feed.move(tx, id, { to: 'pausing', event: { type: 'job.pausing', message: 'the job pauses at its next step boundary' } });
      }
      await this.settle(tx, id, stages);
    });
  }

  /** Lets a paused job go on where it stopped, on any worker. @returns the stage to offer now that this is committed. @throws RunUnknown, JobNotPaused */
  resume(id: string): Promise<StageOffer | undefined> {
    return this.order(id, async (tx, run) => {
      if (run.status !== 'paused') throw new JobNotPaused(id, run.status);
      const [woken] = await this.repository.wakeStages(tx, id);
      await this.feed.move(tx, id, { to: 'queued', event: { type: 'job.queued', message: 'the job waits for a worker to go on' } });
      return woken && offerOf(woken);
    });
  }

  /** What paused by itself would go on by itself. */
  private async keepPaused(tx: Tx, id: string): Promise<void> {
    await this.repository.keepPaused(tx, id);
    await this.feed.tell(tx, id, { kind: 'event', type: 'job.paused', message: 'the job stays paused until it is resumed' });
  }

  private order<Result>(id: string, give: (tx: Tx, run: RunRow, stages: readonly StageRow[]) => Promise<Result>): Promise<Result> {
    return this.database.transaction(async (tx) => {
      const locked = await this.repository.lock(tx, id);
      if (!locked) throw new RunUnknown(id);
      return give(tx, locked.run, locked.stages);
    });
  }

  /** What nobody holds rests at once; whoever holds a stage is told. */
  private async settle(tx: Tx, id: string, stages: readonly StageRow[]): Promise<void> {
    if (await this.outcomes.settle(tx, id)) return;
    const held = stages.find(({ status }) => status === 'running');
    if (held) await this.repository.notifyWorker(tx, held.id);
  }
}

/** What the workers are told of a waiting stage. */
export function offerOf({ id, queue, epoch }: StageRow): StageOffer {
  return { id, queue, epoch: epoch + 1 };
}
