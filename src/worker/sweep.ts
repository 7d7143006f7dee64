import { Inject, Injectable } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import { StageLedger } from '../runs/stage-ledger.service.js';
import { Delivery } from './delivery.js';
import { WorkerLog } from './worker-log.js';

/** Finds what nobody delivers: delivers every stage that is due again, ends runs that were asked to stop while nobody holds them, and lets those go on whose teacher is back. */
@Injectable()
export class Sweep {
  private timer: NodeJS.Timeout | undefined;
  private sweeping: Promise<void> = Promise.resolve();

  constructor(
    private readonly ledger: StageLedger,
    private readonly delivery: Delivery,
    private readonly log: WorkerLog,
    @Inject(WORKER_SETTINGS) private readonly settings: Pick<WorkerSettings, 'sweepMs'>,
  ) {}

  start(): void {
    this.next();
    this.timer = setInterval(() => this.next(), this.settings.sweepMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.sweeping;
  }

  private next(): void {
    this.sweeping = this.sweeping.then(() => this.once());
  }

  /** One look. Never throws: the next one comes. */
  async once(): Promise<void> {
    try {
      await this.ledger.settleUnattended();
      await this.ledger.resumeForTeachers();
      const due = await this.ledger.due();
      await this.delivery.deliver(due);
    } catch (error) {
      this.log.all.warn({ err: error }, 'the sweep could not look');
    }
  }
}
