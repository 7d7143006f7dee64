import { Controller, HttpCode, Param, Post } from '@nestjs/common';
import { ApiOkResponse, ApiTags } from '@nestjs/swagger';
import { Scopes } from '../http/scopes.js';
import { StageQueue } from '../queue/stage-queue.js';
import { JobPath } from './run-history.schema.js';
import { RunOrders } from './run-orders.service.js';
import { Job } from './runs.schema.js';
import { RunsService } from './runs.service.js';

@Controller('v1/fine_tuning/jobs/:id')
@ApiTags('Jobs')
@Scopes('jobs:write')
export class RunOrdersController {
  constructor(
    private readonly orders: RunOrders,
    private readonly runs: RunsService,
    private readonly queue: StageQueue,
  ) {}

  /** Stops a job for good; its checkpoints stay. Again changes nothing. */
  @Post('cancel')
  @HttpCode(200)
  @ApiOkResponse({ standardSchema: Job })
  async cancel(@Param({ schema: JobPath }) { id }: JobPath): Promise<Job> {
    await this.orders.cancel(id);
    return this.runs.get(id);
  }

  /** Lets a job save a checkpoint and free its device. Again changes nothing. */
  @Post('pause')
  @HttpCode(200)
  @ApiOkResponse({ standardSchema: Job })
  async pause(@Param({ schema: JobPath }) { id }: JobPath): Promise<Job> {
    await this.orders.pause(id);
    return this.runs.get(id);
  }

  /** Lets a paused job go on from its last checkpoint. */
  @Post('resume')
  @HttpCode(200)
  @ApiOkResponse({ standardSchema: Job })
  async resume(@Param({ schema: JobPath }) { id }: JobPath): Promise<Job> {
    const offer = await this.orders.resume(id);
    if (offer) void this.queue.offer(offer);
    return this.runs.get(id);
  }
}
