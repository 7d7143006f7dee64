import { Injectable } from '@nestjs/common';
import type { StageOffer } from '../queue/queue-names.js';
import { StageQueue } from '../queue/stage-queue.js';
import { StageRunner } from './stage-runner.js';

/** Brings due stages to workers: through the queue, or to this worker directly while Redis is away. */
@Injectable()
export class Delivery {
  constructor(
    private readonly queue: StageQueue,
    private readonly runner: StageRunner,
  ) {}

  async deliver(due: readonly StageOffer[]): Promise<void> {
    if (due.length === 0) return;
    if ((await this.queue.waiting()) === undefined) return this.runner.takeDirectly(due); // commands to a Redis that is away would pile up
    await Promise.all(due.map((stage) => this.queue.offer(stage)));
  }
}
