import { Controller, Get, Header, Res } from '@nestjs/common';
import type { Response } from 'express';
import { limbeckVersion } from '../common/version.js';
import { TeacherCounters } from './counters.js';
import { Scheduler } from './scheduler.js';

@Controller()
export class StatusController {
  private readonly versionText = limbeckVersion();

  constructor(
    private readonly scheduler: Scheduler,
    private readonly counters: TeacherCounters,
  ) {}

  @Get('health')
  health(@Res() response: Response): void {
    response.status(this.scheduler.isHealthy ? 200 : 503).end();
  }

  @Get('version')
  version(): object {
    return { version: this.versionText };
  }

  @Get('metrics')
  @Header('content-type', 'text/plain; version=0.0.4; charset=utf-8')
  metrics(): string {
    return this.counters.text(this.scheduler.load);
  }
}
