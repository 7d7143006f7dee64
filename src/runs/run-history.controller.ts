import { Controller, Get, Headers, Inject, Param, Query, Res } from '@nestjs/common';
import { ApiHeader, ApiOkResponse, ApiProduces, ApiTags } from '@nestjs/swagger';
import type { Response } from 'express';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { hangUpSignal } from '../http/hang-up.js';
import { PageQuery, type List } from '../http/page.js';
import { Scopes } from '../http/scopes.js';
import { writeEvents, type ServerSentEvent } from './event-stream.js';
import { JobCheckpoint, JobCheckpointList, JobEvent, JobEventList, JobPath, JobSample, JobSampleList, lastSeen, SamplesQuery, StreamQuery } from './run-history.schema.js';
import { RunHistory } from './run-history.service.js';
import { RunStream } from './run-stream.service.js';

/** What a client is to wait before it opens a stream again. */
const RETRY_MS = 1_000;

/** What happened to a job and what it left behind. */
@Controller('v1/fine_tuning/jobs/:id')
@ApiTags('Jobs')
@Scopes('jobs:read')
export class RunHistoryController {
  constructor(
    private readonly history: RunHistory,
    private readonly stream: RunStream,
    @Inject(API_SETTINGS) private readonly settings: Pick<ApiSettings, 'streamHeartbeatMs'>,
  ) {}

  /** Newest first. */
  @Get('events')
  @ApiOkResponse({ standardSchema: JobEventList })
  events(@Param({ schema: JobPath }) { id }: JobPath, @Query({ schema: PageQuery }) query: PageQuery): Promise<List<JobEvent>> {
    return this.history.events(id, query);
  }

  /** Newest first. */
  @Get('checkpoints')
  @ApiOkResponse({ standardSchema: JobCheckpointList })
  checkpoints(@Param({ schema: JobPath }) { id }: JobPath, @Query({ schema: PageQuery }) query: PageQuery): Promise<List<JobCheckpoint>> {
    return this.history.checkpoints(id, query);
  }

  /** Held-out prompts with both answers, by evaluation. */
  @Get('samples')
  @ApiOkResponse({ standardSchema: JobSampleList })
  samples(@Param({ schema: JobPath }) { id }: JobPath, @Query({ schema: SamplesQuery }) query: SamplesQuery): Promise<List<JobSample>> {
    return this.history.samples(id, query);
  }

  /** The job's feed as server-sent events: `status`, `progress`, `metrics`, `event`, and `done` at its end. */
  @Get('stream')
  @ApiProduces('text/event-stream')
  @ApiHeader({ name: 'Last-Event-ID', required: false, description: 'Number of the last entry seen; the stream goes on behind it' })
  async follow(
    @Param({ schema: JobPath }) { id }: JobPath,
    @Query({ schema: StreamQuery }) query: StreamQuery,
    @Headers('last-event-id') header: string | undefined,
    @Res() response: Response,
  ): Promise<void> {
    const messages = this.stream.messages(id, lastSeen(header) ?? query.last_event_id, hangUpSignal(response));
    await writeEvents(response, numbered(messages), { heartbeatMs: this.settings.streamHeartbeatMs, retryMs: RETRY_MS });
  }
}

async function* numbered(messages: ReturnType<RunStream['messages']>): AsyncGenerator<ServerSentEvent> {
  for await (const message of messages) yield 'seq' in message ? { ...message, id: message.seq } : message;
}
