import { Inject, Injectable } from '@nestjs/common';
import type { Tx } from '../database/database.js';
import { chartPlan } from './chart-plan.js';
import { grouped } from './grouped.js';
import { metricValue, type LatestValue, type MetricBatch, type SeriesRange } from './metric-point.js';
import { MetricBatchTooLarge } from './metrics.errors.js';
import { MetricsChartRepository, type SeriesView } from './metrics-chart.repository.js';
import { MetricsIngestRepository } from './metrics-ingest.repository.js';
import { CHART_POINTS, STEP_MOST, type MetricChart, type MetricValue } from './metrics.schema.js';

export type { LatestValue, MetricBatch, MetricPoint, SeriesRange } from './metric-point.js';
export { MetricsAnswer, MetricsQuery } from './metrics.schema.js';

/** Most points of a batch; with names of at most 200 characters that is under 1 MB. */
export const BATCH_POINTS_MOST = 1_000;

/** What a batch changed. */
export interface Ingested {
  /** Points that were not there before. */
  readonly inserted: number;
  /** Where they are, by key: small enough for a feed entry; `points` reads them back. */
  readonly series: readonly SeriesRange[];
  /** Series whose first value that is not finite came with this batch; worth an event, once an attempt. */
  readonly alarms: readonly { readonly key: string; readonly attempt: number; readonly step: number; readonly value: MetricValue }[];
}

/** What to chart. */
export interface ChartQuery {
  /** All keys of the run when absent, as far as `CHART_SERIES_MOST`. */
  readonly keys?: readonly string[];
  /** Steps in view, both included. */
  readonly from?: number;
  readonly to?: number;
  /** Most points of a series, from 10 to `CHART_POINTS_MOST`; `CHART_POINTS` when absent. */
  readonly maxPoints?: number;
  /** Shown, each attempt is drawn from its first step to its last; hidden (when absent), each step has the value of the newest attempt that took it. */
  readonly superseded?: 'hidden' | 'shown';
}

/** A point as it was measured. */
export interface MeasuredPoint {
  readonly step: number;
  readonly value: MetricValue;
  /** Unix seconds. */
  readonly at: number;
}

const CHART_SERIES_MOST = 100;

/**
 * What training measured. A series is what a run measured under one key; an attempt is the epoch of the stage that measured. When a stage goes on after a
 * crash it takes some steps again: what earlier attempts measured from the first step of a later attempt on is superseded. It stays stored, and is hidden
 * unless asked for.
 */
@Injectable()
export class MetricsService {
  constructor(
    @Inject(MetricsIngestRepository) private readonly ingests: MetricsIngestRepository,
    @Inject(MetricsChartRepository) private readonly charts: MetricsChartRepository,
  ) {}

  /** Stores a batch in the caller's transaction, rollups included. @throws MetricBatchTooLarge, MetricPointInvalid before anything is stored. */
  async ingest(tx: Tx, batch: MetricBatch): Promise<Ingested> {
    if (batch.points.length > BATCH_POINTS_MOST) throw new MetricBatchTooLarge(batch.points.length, BATCH_POINTS_MOST);
    const { attempt } = batch;
    const rows = await this.ingests.ingest(tx, batch);
    return {
      inserted: rows.reduce((sum, { points }) => sum + points, 0),
      series: rows.map(({ key, from, to }) => ({ key, attempt, from, to })),
      alarms: rows.flatMap(({ key, alarm }) => (alarm ? [{ key, attempt, step: alarm[0], value: metricValue(alarm[1]) }] : [])),
    };
  }

  /** One chart a series, by key; keys the run does not have are left out. The same points give the same bytes. */
  async chart(runId: string, { keys, from = 0, to = STEP_MOST, maxPoints = CHART_POINTS, superseded = 'hidden' }: ChartQuery = {}): Promise<MetricChart[]> {
    const views = await this.charts.views({ runId, keys, from, to, superseded, most: CHART_SERIES_MOST });
    const plans = views.map(({ segments }) => chartPlan(segments, superseded === 'hidden' ? 'one' : 'each-attempt', maxPoints));
    const parts = views.flatMap(({ id }, place) => plans[place].parts.map((part) => ({ ...part, series: id })));
    const rows = grouped(parts.length === 0 ? [] : await this.charts.buckets(parts), ({ series }) => series);
    return views.map((view, place) => ({
      key: view.key,
      latest: latestOf(view),
      level: 2 ** plans[place].level,
      points: (rows.get(view.id) ?? []).map(({ step, attempt, value, low, high, count, nonfinite }) => ({ step, attempt, value: metricValue(value), min: low, max: high, count, nonfinite })),
    }));
  }

  /** Newest values that no later attempt superseded, by key. */
  async latest(runId: string): Promise<Record<string, LatestValue>> {
    const views = await this.charts.views({ runId, from: 0, to: STEP_MOST, superseded: 'hidden', most: CHART_SERIES_MOST });
    return Object.fromEntries(
      views.flatMap((view) => {
        const latest = latestOf(view);
        return latest ? [[view.key, latest]] : [];
      }),
    );
  }

  /** The points that a feed entry names: those of each range by step, at most `BATCH_POINTS_MOST` of one. */
  async points(runId: string, ranges: readonly SeriesRange[]): Promise<{ readonly key: string; readonly attempt: number; readonly points: readonly MeasuredPoint[] }[]> {
    const rows = grouped(await this.charts.points(runId, ranges, BATCH_POINTS_MOST), ({ place }) => place);
    return ranges.map(({ key, attempt }, place) => ({ key, attempt, points: (rows.get(place) ?? []).map(({ step, value, at }) => ({ step, value: metricValue(value), at })) }));
  }

  /** Names of what the run measured, in order. */
  keys(runId: string): Promise<string[]> {
    return this.charts.keys(runId);
  }
}

function latestOf({ latest }: SeriesView): LatestValue | null {
  return latest && { ...latest, value: metricValue(latest.value) };
}
