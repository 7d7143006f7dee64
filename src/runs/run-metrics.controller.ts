import { Controller, Get, Param, Query } from '@nestjs/common';
import { ApiOkResponse, ApiTags } from '@nestjs/swagger';
import { Scopes } from '../http/scopes.js';
import { MetricsAnswer, MetricsQuery, MetricsService } from '../metrics/metrics.service.js';
import { JobPath } from './run-history.schema.js';
import { RunsService } from './runs.service.js';

@Controller('v1/fine_tuning/jobs/:id/metrics')
@ApiTags('Jobs')
@Scopes('jobs:read')
export class RunMetricsController {
  constructor(
    private readonly runs: RunsService,
    private readonly metrics: MetricsService,
  ) {}

  /** Charts of what the job measured, each series cut to at most `max_points` with its extremes kept. */
  @Get()
  @ApiOkResponse({ standardSchema: MetricsAnswer })
  async charts(@Param({ schema: JobPath }) { id }: JobPath, @Query({ schema: MetricsQuery }) query: MetricsQuery): Promise<MetricsAnswer> {
    await this.runs.state(id);
    const { keys, from, to, max_points: maxPoints, include_superseded } = query;
    const data = await this.metrics.chart(id, { keys, from, to, maxPoints, superseded: include_superseded === 'true' ? 'shown' : 'hidden' });
    return { object: 'list', data };
  }
}
