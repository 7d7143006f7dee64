import { Module } from '@nestjs/common';
import { HealthController } from './health.controller.js';
import { HealthService } from './health.service.js';
import { MetricsController } from './metrics.controller.js';
import { ServiceMetrics } from './service-metrics.js';

/** Probes and metrics of an API process. */
@Module({ controllers: [HealthController, MetricsController], providers: [HealthService, ServiceMetrics] })
export class HealthModule {}
