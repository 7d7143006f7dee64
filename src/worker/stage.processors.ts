import { Inject, Injectable } from '@nestjs/common';
import { z } from 'zod';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import type { QueueName } from '../queue/queue-names.js';
import { StageQueue } from '../queue/stage-queue.js';
import { StageRunner } from './stage-runner.js';
import { WorkerLog } from './worker-log.js';

/** What a job may say; more than a look at a row and a refused claim it cannot cause. */
const jobData = z.strictObject({ stageId: z.int().min(1), epoch: z.int().min(1).max(2 ** 31 - 1) });

/** Takes stages from the queues. A job in Redis lasts as long as its stage, so that a busy worker takes no second one. */
@Injectable()
export class StageProcessors {
  constructor(
    private readonly queue: StageQueue,
    private readonly runner: StageRunner,
    private readonly log: WorkerLog,
    @Inject(WORKER_SETTINGS) private readonly settings: Pick<WorkerSettings, 'collectSlots' | 'deviceSlots'>,
  ) {}

  start(): void {
    const { collectSlots, deviceSlots } = this.settings;
    if (collectSlots > 0) this.queue.attend('collect', collectSlots, (said) => this.take('collect', said));
    if (deviceSlots > 0) this.queue.attend('device', deviceSlots, (said) => this.take('device', said));
  }

  /** Takes nothing more; what is in work is not waited for. */
  stop(): Promise<void> {
    return this.queue.rest();
  }

  /** Takes stages again. */
  resume(): Promise<void> {
    return this.queue.wake();
  }

  private async take(queue: QueueName, said: unknown): Promise<void> {
    const job = jobData.safeParse(said);
    if (job.success) await this.runner.run(job.data, queue);
    else this.log.all.warn('a job in the queue says nothing a stage would; it was dropped');
  }
}
