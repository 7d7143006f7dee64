import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query, Req } from '@nestjs/common';
import { ApiAcceptedResponse, ApiHeader, ApiOkResponse, ApiTags } from '@nestjs/swagger';
import type { Request } from 'express';
import { Caller } from '../http/caller.js';
import type { List } from '../http/page.js';
import { Scopes } from '../http/scopes.js';
import { JobPath } from './run-history.schema.js';
import { RunSubmission } from './run-submission.js';
import { CreateJob, CreateJobQuery, Job, JobDeleted, JobList, ListJobsQuery } from './runs.schema.js';
import { RunsService } from './runs.service.js';

/** A run is called a job here, as the OpenAI API calls it. */
@Controller('v1/fine_tuning/jobs')
@ApiTags('Jobs')
export class RunsController {
  constructor(
    private readonly runs: RunsService,
    private readonly submissions: RunSubmission,
  ) {}

  /** Creates a distillation. A dry run is answered when its validation is done, or 202 when that takes long. */
  @Post()
  @HttpCode(200)
  @Scopes('jobs:write')
  @ApiHeader({ name: 'Idempotency-Key', required: false })
  @ApiOkResponse({ standardSchema: Job })
  @ApiAcceptedResponse({ standardSchema: Job, description: 'A dry run that is still being validated' })
  create(@Body({ schema: CreateJob }) body: CreateJob, @Query({ schema: CreateJobQuery }) { dry_run }: CreateJobQuery, @Req() request: Request, @Caller() caller: Caller): Promise<Job> {
    return this.submissions.submit(request, body, { caller, dryRun: dry_run === 'true' });
  }

  @Get()
  @Scopes('jobs:read')
  @ApiOkResponse({ standardSchema: JobList })
  list(@Query({ schema: ListJobsQuery }) query: ListJobsQuery): Promise<List<Job>> {
    return this.runs.list(query);
  }

  @Get(':id')
  @Scopes('jobs:read')
  @ApiOkResponse({ standardSchema: Job })
  get(@Param({ schema: JobPath }) { id }: JobPath): Promise<Job> {
    return this.runs.get(id);
  }

  /** Deletes a finished job with its files; a model it made stays. */
  @Delete(':id')
  @Scopes('jobs:write')
  @ApiOkResponse({ standardSchema: JobDeleted })
  delete(@Param({ schema: JobPath }) { id }: JobPath): Promise<JobDeleted> {
    return this.runs.delete(id);
  }
}
