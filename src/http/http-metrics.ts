import { collectDefaultMetrics, Histogram, Registry } from 'prom-client';

/** Prefix of every metric of ours. */
export const METRIC_PREFIX = 'limbeck_';

/** The end of a request. */
export interface ServedRequest {
  readonly method: string;
  /** Template of the route, never the path itself. */
  readonly route: string;
  readonly status: number;
  readonly seconds: number;
}

/** Metrics of one API process, in Prometheus's terms. Other parts register theirs in `registry`. */
export class HttpMetrics {
  readonly registry = new Registry();
  private readonly durations = new Histogram({
    name: `${METRIC_PREFIX}http_request_duration_seconds`,
    help: 'Time from the first byte of a request to the end of its answer',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10, 30],
    registers: [this.registry],
  });

  constructor() {
    collectDefaultMetrics({ register: this.registry, prefix: METRIC_PREFIX });
  }

  observe({ method, route, status, seconds }: ServedRequest): void {
    this.durations.observe({ method, route, status }, seconds);
  }
}
