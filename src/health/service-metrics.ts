import { Injectable } from '@nestjs/common';
import { Gauge } from 'prom-client';
import { Database } from '../database/database.js';
import { HttpMetrics, METRIC_PREFIX } from '../http/http-metrics.js';
import { StageQueue } from '../queue/stage-queue.js';

/** Metrics of the installation, looked up when they are asked for: every API process tells the same. */
@Injectable()
export class ServiceMetrics {
  private readonly runs: Gauge;
  private readonly waiting: Gauge;

  constructor(
    private readonly http: HttpMetrics,
    private readonly database: Database,
    private readonly queue: StageQueue,
  ) {
    const registers = [http.registry];
    this.runs = new Gauge({ name: `${METRIC_PREFIX}runs`, help: 'Runs by status', labelNames: ['status'], registers });
    this.waiting = new Gauge({ name: `${METRIC_PREFIX}queue_waiting`, help: 'Stages that no worker has taken yet, by queue', labelNames: ['queue'], registers });
  }

  /** In Prometheus's text format. Says nothing of the queues while Redis is away. @throws DatabaseUnavailable */
  async text(): Promise<string> {
    const [byStatus, byQueue] = await Promise.all([
      this.database.query<{ status: string; count: number }>('select status, count(*) as count from runs group by status'),
      this.queue.waiting(),
    ]);
    this.runs.reset();
    for (const { status, count } of byStatus) this.runs.set({ status }, count);
    this.waiting.reset();
    for (const [queue, count] of Object.entries(byQueue ?? {})) this.waiting.set({ queue }, count);
    return this.http.registry.metrics();
  }
}
