import { Module } from '@nestjs/common';
import { MetricsChartRepository } from './metrics-chart.repository.js';
import { MetricsIngestRepository } from './metrics-ingest.repository.js';
import { MetricsService } from './metrics.service.js';

/** What training measured: stored by workers, charted by the API. */
@Module({ providers: [MetricsService, MetricsIngestRepository, MetricsChartRepository], exports: [MetricsService] })
export class MetricsModule {}
