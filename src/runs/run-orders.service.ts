import { Injectable } from '@nestjs/common';
import { Database, type Tx } from '../database/database.js';
import { StageQueue } from '../queue/stage-queue.js';
import { RunFeed } from './run-feed.service.js';
import { isFinished } from './run-states.js';
import { JobFinished, JobNotPausable, JobNotPaused, RunUnknown } from './runs.errors.js';
import { RunsRepository } from './runs.repository.js';
import type { RunRow, StageRow } from './runs.rows.js';
import type { Job } from './runs.schema.js';
import { RunsService } from './runs.service.js';
import { StageOutcomes } from './stage-outcomes.js';

/** Orders to a job: stop for good, stand still, go on. What no worker holds obeys at once; a worker obeys at its next step boundary. */
@Injectable()
export class RunOrders {
  constructor(
    private readonly database: Database,
    private readonly repository: RunsRepository,
    private readonly runs: RunsService,
    private readonly feed: RunFeed,
    private readonly outcomes: StageOutcomes,
    private readonly queue: StageQueue,
  ) {}

  /** Cancels a job; again changes nothing. Committed checkpoints stay. @throws RunUnknown, JobFinished when it ended otherwise */
  cancel(id: string): Promise<Job> {
    return this.order(id, async (tx, run, stages) => {
      if (run.status === 'cancelled' || run.cancel_requested_at !== null) return;
      if (isFinished(run.status)) throw new JobFinished(id, run.status, 'cancelled');
      await this.repository.request(tx, id, 'cancel');
      await this.feed.tell(tx, id, { kind: 'event', type: 'job.cancel_requested', message: 'the job is to be cancelled' });
      await this.settle(tx, id, stages);
    });
  }

  /** Pauses a job: its stage saves a checkpoint and frees the device. Again changes nothing. @throws RunUnknown, JobFinished, JobNotPausable */
  pause(id: string): Promise<Job> {
    return this.order(id, async (tx, run, stages) => {
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

  /** Lets a paused job go on where it stopped, on any worker. @throws RunUnknown, JobNotPaused */
  async resume(id: string): Promise<Job> {
    let woken: StageRow[] = [];
    const job = await this.order(id, async (tx, run) => {
      if (run.status !== 'paused') throw new JobNotPaused(id, run.status);
      woken = await this.repository.wakeStages(tx, id);
      await this.feed.move(tx, id, { to: 'queued', event: { type: 'job.queued', message: 'the job waits for a worker to go on' } });
    });
    for (const stage of woken) await this.offer(stage);
    return job;
  }

  /** Offers a waiting stage to the workers; after the commit that made it wait. Never throws, and waits for Redis only for a moment. */
  offer({ id, queue, epoch }: StageRow): Promise<void> {
    return this.queue.offer({ id, queue, epoch: epoch + 1 });
  }

  private order(id: string, give: (tx: Tx, run: RunRow, stages: readonly StageRow[]) => Promise<void>): Promise<Job> {
    return this.database.transaction(async (tx) => {
      const locked = await this.repository.lock(tx, id);
      if (!locked) throw new RunUnknown(id);
      await give(tx, locked.run, locked.stages);
      return this.runs.getIn(tx, id);
    });
  }

  /** What nobody holds rests at once; whoever holds a stage is told. */
  private async settle(tx: Tx, id: string, stages: readonly StageRow[]): Promise<void> {
    if (await this.outcomes.settle(tx, id)) return;
    const held = stages.find(({ status }) => status === 'running');
    if (held) await this.repository.notifyWorker(tx, held.id);
  }
}
