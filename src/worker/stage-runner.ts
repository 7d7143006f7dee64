import { Injectable } from '@nestjs/common';
import type { StageJob } from '../queue/queue-names.js';
import { FencedOut } from '../runs/stage-ledger.service.js';
import type { Hold } from './hold.js';
import { NodeRegistrar } from './node-registrar.js';
import { StageDesk } from './stage-desk.js';
import { isStopped, outcomeOf } from './stage-failure.js';
import { StagePerformer } from './stage-performer.js';
import { WorkerLog } from './worker-log.js';

/** Claims stages and performs them, each under a lease that is renewed meanwhile. */
@Injectable()
export class StageRunner {
  private readonly holds = new Map<number, { readonly hold: Hold; readonly done: Promise<void> }>();
  private closing = false;

  constructor(
    private readonly desk: StageDesk,
    private readonly performer: StagePerformer,
    private readonly node: NodeRegistrar,
    private readonly log: WorkerLog,
  ) {}

  /** Performs the stage if it is to be had; returns when it is over, for whatever reason. */
  async run(job: StageJob): Promise<void> {
    if (this.closing || this.holds.has(job.stageId)) return;
    const hold = await this.desk.take(job, await this.node.id(), (error) => this.log.all.warn({ err: error, stage_id: job.stageId }, 'the lease was not renewed'));
    if (!hold) return;
    const done = this.work(hold).finally(() => this.holds.delete(job.stageId));
    this.holds.set(job.stageId, { hold, done });
    if (this.closing) hold.stop('shutdown');
    await done;
  }

  /** Looks for orders now: to one stage, or to all. */
  look(stageId: number | undefined): void {
    for (const { hold } of this.holds.values()) if (stageId === undefined || hold.claim.stageId === stageId) hold.look();
  }

  /** Takes no more stages, stops those in work at a step boundary, and gives them back; kills what takes longer than `withinMs`. */
  async close(withinMs: number): Promise<void> {
    this.closing = true;
    const running = [...this.holds.values()];
    for (const { hold } of running) hold.stop('shutdown');
    const killer = setTimeout(() => running.forEach(({ hold }) => hold.kill()), withinMs);
    await Promise.all(running.map(({ done }) => done));
    clearTimeout(killer);
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
