import { Controller, Get, Res } from '@nestjs/common';
import { ApiOkResponse, ApiServiceUnavailableResponse, ApiTags } from '@nestjs/swagger';
import type { Response } from 'express';
import { z } from 'zod';
import { Open } from '../http/scopes.js';
import { HealthService, type Readiness } from './health.service.js';

const Readiness = z.object({ ready: z.boolean(), parts: z.record(z.string(), z.string()) }).meta({ id: 'Readiness' });

/** Probes for whatever starts, stops and balances processes. */
@Controller('health')
@ApiTags('Operations')
@Open()
export class HealthController {
  constructor(private readonly health: HealthService) {}

  /** The event loop turns. */
  @Get('live')
  live(): { live: true } {
    return { live: true };
  }

  /** Requests may be sent here. */
  /** Requests may be sent here. */
  @Get('ready')
  @ApiOkResponse({ standardSchema: Readiness })
  @ApiServiceUnavailableResponse({ standardSchema: Readiness })
  async ready(@Res({ passthrough: true }) response: Response): Promise<Readiness> {
    const readiness = await this.health.readiness();
    response.status(readiness.ready ? 200 : 503);
    return readiness;
  }

  /** The process has started: it does not listen before its parts are there. */
  @Get('startup')
  startup(): { started: true } {
    return { started: true };
  }
}
