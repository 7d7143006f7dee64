import { randomUUID } from 'node:crypto';
import type { StepMetrics } from '../distillation/events.js';
import type { MetricPoint } from '../metrics/metrics.service.js';

/** Points of one stage that are stored together; the id lets a batch be sent again without counting twice. */
export interface PointBatch {
  readonly batchId: string;
  readonly points: readonly MetricPoint[];
}

/** Fields that say which step it was, and are no measurement. */
const COORDINATES = ['stage', 'step', 'steps'];

/** Gathers the points of training steps until there are enough of them. */
export class MetricBuffer {
  private points: MetricPoint[] = [];

  /** @param most points in a batch. */
  constructor(
    private readonly most: number,
    private readonly now: () => number = Date.now,
  ) {}

  /** Adds what a step measured, under keys such as `distill/loss`. @returns whether a batch is full. */
  add(metrics: StepMetrics): boolean {
    const at = this.now();
    for (const [name, value] of Object.entries(metrics)) {
      if (typeof value === 'number' && !COORDINATES.includes(name)) this.points.push({ key: `${metrics.stage}/${name}`, step: metrics.step, value, at });
    }
    return this.points.length >= this.most;
  }

  /** Everything gathered, in batches; the buffer is empty then. */
  take(): PointBatch[] {
    const points = this.points;
    this.points = [];
    const count = Math.ceil(points.length / this.most);
    return Array.from({ length: count }, (_, index) => ({ batchId: randomUUID(), points: points.slice(index * this.most, (index + 1) * this.most) }));
  }
}
