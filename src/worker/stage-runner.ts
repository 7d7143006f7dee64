import { Injectable } from '@nestjs/common';
import type { QueueName, StageJob, StageOffer } from '../queue/queue-names.js';
import { FencedOut } from '../runs/stage-ledger.service.js';
import type { Hold } from './hold.js';
import { StageDesk } from './stage-desk.js';
import { isStopped, outcomeOf } from './stage-failure.js';
import { StagePerformer } from './stage-performer.js';
import { WorkerLog } from './worker-log.js';
import { Workplace } from './workplace.js';

/** Claims stages and performs them, each under a lease that is renewed meanwhile. */
@Injectable()
export class StageRunner {
  private readonly holds = new Map<number, Hold>();
  private readonly runs = new Set<Promise<void>>();
  private closing = false;
  private abandoning = false;

  constructor(
    private readonly desk: StageDesk,
    private readonly performer: StagePerformer,
    private readonly workplace: Workplace,
    private readonly log: WorkerLog,
  ) {}

  /** Whether stages had to be given back without a save. */
  get isAbandoning(): boolean {
    return this.abandoning;
  }

  /** Performs the stage if it is to be had and there is room for it; returns when it is over, for whatever reason. */
  async run(job: StageJob, queue: QueueName): Promise<void> {
    if (this.closing || this.holds.has(job.stageId)) return;
    const run = this.workplace.within(queue, (nodeId) => this.take(job, nodeId));
    this.runs.add(run);
    await run.finally(() => this.runs.delete(run));
  }

  /** Takes stages that no queue delivers, as far as there is room; does not wait for their ends. */
  takeDirectly(due: readonly StageOffer[]): void {
    for (const { id: stageId, epoch, queue } of due) {
      void this.run({ stageId, epoch }, queue).catch((error: unknown) => this.log.all.warn({ err: error, stage_id: stageId }, 'the stage was not taken'));
    }
  }

  /** Looks for orders now: to one stage, or to all. */
  look(stageId: number | undefined): void {
    for (const hold of this.holds.values()) if (stageId === undefined || hold.claim.stageId === stageId) hold.look();
  }

  /** Takes no more stages, stops those in work at a step boundary, and gives them back; kills what takes longer than `withinMs`. */
  async close(withinMs: number): Promise<void> {
    this.closing = true;
    for (const hold of this.holds.values()) hold.stop('shutdown');
    const killer = setTimeout(() => this.hurry(), withinMs);
    await Promise.allSettled(this.runs);
    clearTimeout(killer);
  }

  /** Kills what is in work, so that it is given back at once as it was last saved. */
  hurry(): void {
    if (this.holds.size > 0) this.abandoning = true;
    for (const hold of this.holds.values()) hold.kill();
  }

  private async take(job: StageJob, nodeId: string): Promise<void> {
    const hold = await this.desk.take(job, nodeId, (error) => this.log.all.warn({ err: error, stage_id: job.stageId }, 'the lease was not renewed'));
    if (!hold) return;
    this.holds.set(job.stageId, hold);
    if (this.closing) hold.stop('shutdown');
    await this.work(hold).finally(() => this.holds.delete(job.stageId));
  }

  /** Never throws: what cannot be said to the ledger is left to the lease. */
  private async work(hold: Hold): Promise<void> {
    const log = this.log.of(hold.claim);
    log.info('the stage begins');
    try {
      await this.perform(hold);
      log.info({ reason: hold.reason }, 'the stage is over');
    } catch (error) {
      log.warn({ err: error, reason: hold.reason }, 'the stage is left to its lease');
    } finally {
      hold.end();
    }
  }

  private async perform(hold: Hold): Promise<void> {
    try {
      const task = await hold.patiently(() => this.desk.task(hold));
      await this.desk.handIn(hold, await this.performer.perform(task, hold, (error) => this.onUnwritten(hold, error)));
    } catch (error) {
      if (error instanceof FencedOut) hold.stop('lost');
      if (hold.reason === 'lost') throw error;
      if (isStopped(error, hold)) return this.desk.end(hold, { kind: 'stopped' });
      this.log.of(hold.claim).error({ err: error }, 'the stage failed');
      await this.desk.end(hold, outcomeOf(error));
    }
  }

  private onUnwritten(hold: Hold, error: unknown): void {
    if (error instanceof FencedOut) hold.stop('lost');
    else this.log.of(hold.claim).error({ err: error }, 'a report was not written');
  }
}
