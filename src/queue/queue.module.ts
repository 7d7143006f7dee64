import { BullModule } from '@nestjs/bull';
import { Module, type DynamicModule } from '@nestjs/common';
import { QUEUES } from './queue-names.js';
import { QUEUE_SETTINGS, StageQueue, type QueueSettings } from './stage-queue.js';

/** A worker that stalls is not a failure of the stage: Postgres decides by the lease, so Bull never gives a job up. */
const NEVER_GIVE_UP = 1_000_000;

/** The two queues and the door to them. */
@Module({})
export class QueueModule {
  static of({ redisUrl, redisPrefix, redisCommandMs }: QueueSettings): DynamicModule {
    const settings = { lockDuration: 60_000, stalledInterval: 15_000, maxStalledCount: NEVER_GIVE_UP };
    const queues = BullModule.registerQueue(...QUEUES.map((name) => ({ name, url: redisUrl, prefix: redisPrefix, settings })));
    return {
      module: QueueModule,
      global: true,
      imports: [queues],
      providers: [{ provide: QUEUE_SETTINGS, useValue: { redisUrl, redisPrefix, redisCommandMs } }, StageQueue],
      exports: [queues, StageQueue],
    };
  }
}
