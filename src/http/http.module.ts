import { Global, Module } from '@nestjs/common';
import { Draining } from './draining.js';
import { HttpMetrics } from './http-metrics.js';

/** What `createApp` and every feature share within one API process. */
@Global()
@Module({ providers: [HttpMetrics, Draining], exports: [HttpMetrics, Draining] })
export class HttpModule {}
