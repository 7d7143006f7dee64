import { Injectable } from '@nestjs/common';
import { collectDefaultMetrics, Counter, Registry } from 'prom-client';
import { METRIC_PREFIX } from '../http/http-metrics.js';
import { StageLedger } from '../runs/stage-ledger.service.js';

/** Metrics of one worker process, in Prometheus's terms. */
@Injectable()
export class WorkerMetrics {
  private readonly registry = new Registry();

  constructor(ledger: StageLedger) {
    collectDefaultMetrics({ register: this.registry, prefix: METRIC_PREFIX });
    new Counter({
      name: `${METRIC_PREFIX}fenced_writes_total`,
      help: 'Writes of this process for stages that another worker had taken over; each was refused',
      registers: [this.registry],
      collect() {
        this.reset();
        this.inc(ledger.fencedWrites);
      },
    });
  }

  /** The exposition format, and its content type. */
  async text(): Promise<{ readonly body: string; readonly contentType: string }> {
    return { body: await this.registry.metrics(), contentType: this.registry.contentType };
  }
}
