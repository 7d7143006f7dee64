import { InjectQueue } from '@nestjs/bull';
import { Inject, Injectable } from '@nestjs/common';
import type { Job, Queue } from 'bull';
import { z } from 'zod';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import type { StageJob } from '../queue/queue-names.js';
import { StageRunner } from './stage-runner.js';
import { WorkerLog } from './worker-log.js';

/** What a job may say; whoever can write to Redis can say anything. */
const jobData = z.strictObject({ stageId: z.int().min(1), epoch: z.int().min(1).max(2 ** 31 - 1) });

/** Takes stages from the queues. A job in Redis lasts as long as its stage, so that a busy worker takes no second one. */
@Injectable()
export class StageProcessors {
  constructor(
    @InjectQueue('collect') private readonly collect: Queue<StageJob>,
    @InjectQueue('device') private readonly device: Queue<StageJob>,
    private readonly runner: StageRunner,
    private readonly log: WorkerLog,
    @Inject(WORKER_SETTINGS) private readonly settings: Pick<WorkerSettings, 'collectSlots' | 'deviceSlots'>,
  ) {}

  start(): void {
    this.attend(this.collect, this.settings.collectSlots);
    this.attend(this.device, this.settings.deviceSlots);
  }

  /** Takes nothing more; what is in work is not waited for. */
  async stop(): Promise<void> {
    await Promise.all([this.collect, this.device].map((queue) => queue.pause(true, true)));
  }

  private attend(queue: Queue<StageJob>, slots: number): void {
    queue.on('error', (error) => this.log.all.warn({ err: error }, `the queue ${queue.name} is not reached`));
    if (slots > 0) queue.process(slots, (job) => this.take(job)).catch((error: unknown) => this.log.all.error({ err: error }, `the queue ${queue.name} ended`));
  }

  private async take({ data }: Job<unknown>): Promise<void> {
    const job = jobData.safeParse(data);
    if (job.success) await this.runner.run(job.data);
    else this.log.all.warn('a job in the queue says nothing a stage would; it was dropped');
  }
}
