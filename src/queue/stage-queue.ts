import { InjectQueue } from '@nestjs/bull';
import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Queue } from 'bull';
import { QUEUES, type QueueName, type StageJob, type StageOffer } from './queue-names.js';

/** How the queues are reached. */
export interface QueueSettings {
  readonly redisUrl: string;
  readonly redisPrefix: string;
  /** How long an operation may take, milliseconds. */
  readonly redisCommandMs: number;
}
export const QUEUE_SETTINGS = Symbol('queue settings');

/** Offers stages to the workers through Bull. Redis holds ids alone; what it loses, the workers' sweep offers again. */
@Injectable()
export class StageQueue {
  private readonly logger = new Logger(StageQueue.name);
  private resting = false;

  constructor(
    @Inject(QUEUE_SETTINGS) private readonly settings: QueueSettings,
    @InjectQueue('collect') private readonly collect: Queue<StageJob>,
    @InjectQueue('device') private readonly device: Queue<StageJob>,
  ) {}

  /** Offers a claimable stage; called after the commit that made it so. The same offer twice is one job. Never throws: what Redis refuses is left to the sweep. */
  async offer({ id, queue, epoch }: StageOffer): Promise<void> {
    // A finished job must leave at once: while its id is taken, the same offer would be swallowed.
    const options = { jobId: `${id}-${epoch}`, removeOnComplete: true, removeOnFail: true };
    try {
      await this.bounded(this.queue(queue).add({ stageId: id, epoch }, options));
    } catch (error) {
      this.logger.warn(`stage ${id} was not offered (${error instanceof Error ? error.message : String(error)}); the sweep will do it`);
    }
  }

  /** Gives `take` what is offered, up to `slots` at a time; a job in Redis lasts until `take` is done with it. Whoever can write to Redis can say anything. */
  attend(name: QueueName, slots: number, take: (said: unknown) => Promise<void>): void {
    // Bull names its connection and lets go of the promise: closed meanwhile, it would end the process.
    const queue = Object.assign(this.queue(name), { setWorkerName: () => Promise.resolve() });
    queue.on('error', (error) => this.logger.warn(`the queue ${name} is not reached: ${error.message}`));
    queue.process(slots, ({ data }) => take(data)).catch((error: unknown) => {
      if (!this.resting) this.logger.error(`the queue ${name} ended: ${String(error)}`);
    });
  }

  /** Takes nothing more; what was taken is not waited for. */
  async rest(): Promise<void> {
    this.resting = true;
    await this.bounded(Promise.all(QUEUES.map((name) => this.queue(name).pause(true, true)))).catch((error: unknown) => this.logger.warn(String(error)));
  }

  /** Takes jobs again after a rest. */
  async wake(): Promise<void> {
    this.resting = false;
    await this.bounded(Promise.all(QUEUES.map((name) => this.queue(name).resume(true)))).catch((error: unknown) => this.logger.warn(String(error)));
  }

  /** Jobs of each queue that no worker has taken yet; undefined when Redis does not answer. */
  async waiting(): Promise<Record<QueueName, number> | undefined> {
    try {
      const counts = await this.bounded(Promise.all(QUEUES.map((name) => this.queue(name).getWaitingCount())));
      return { collect: counts[0], device: counts[1] };
    } catch {
      return undefined;
    }
  }

  private queue(name: QueueName): Queue<StageJob> {
    return name === 'collect' ? this.collect : this.device;
  }

  private async bounded<Result>(operation: Promise<Result>): Promise<Result> {
    const { redisCommandMs } = this.settings;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`Redis did not answer in ${redisCommandMs} ms`)), redisCommandMs);
    });
    try {
      return await Promise.race([operation, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
