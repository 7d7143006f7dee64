import { Controller, Get, Header } from '@nestjs/common';
import { ApiOkResponse, ApiProduces, ApiTags } from '@nestjs/swagger';
import { Scopes } from '../http/scopes.js';
import { ServiceMetrics } from './service-metrics.js';

@Controller('metrics')
@ApiTags('Operations')
export class MetricsController {
  constructor(private readonly metrics: ServiceMetrics) {}

  /** Metrics in Prometheus's text format; its `authorization` setting sends the key. */
  @Get()
  @Scopes('admin')
  @Header('content-type', 'text/plain; version=0.0.4; charset=utf-8')
  @ApiProduces('text/plain')
  @ApiOkResponse({ type: String })
  read(): Promise<string> {
    return this.metrics.text();
  }
}
