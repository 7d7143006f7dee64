import { z } from 'zod';

/** Points of a chart: by default, and at most. */
export const CHART_POINTS = 500;
export const CHART_POINTS_MOST = 2_000;
/** Names of metrics, most first: `stage/name`, such as `align/reverse_kl`. */
export const METRIC_KEY = /^(?=.{3,200}$)[a-z][a-z0-9_]*(\/[a-z0-9][a-z0-9_.-]*)+$/;
/** Most keys of one chart. */
const KEYS_MOST = 100;
/** Steps are 32-bit. */
export const STEP_MOST = 2 ** 31 - 1;

const step = z.int().min(0).max(STEP_MOST);
const queriedStep = z.coerce.number().int().min(0).max(STEP_MOST);

/** Query of `GET …/metrics`. `keys` is comma-separated; without it all keys of the run are charted. */
export const MetricsQuery = z.strictObject({
  keys: z
    .string()
    .transform((text) => [...new Set(text.split(','))])
    .pipe(z.array(z.string().regex(METRIC_KEY, 'names such as align/reverse_kl, separated by commas')).max(KEYS_MOST))
    .optional(),
  from: queriedStep.optional().describe('first step'),
  to: queriedStep.optional().describe('last step'),
  max_points: z.coerce.number().int().min(10).max(CHART_POINTS_MOST).default(CHART_POINTS).describe('most points of a series'),
  include_superseded: z.enum(['true', 'false']).default('false').describe('also what an earlier attempt measured at steps that a later one took again'),
});
export type MetricsQuery = z.output<typeof MetricsQuery>;

/** A value as JSON carries it: what no number of JSON can say is said in words, so that a loss that became NaN is seen. */
export const MetricValue = z.union([z.number(), z.enum(['NaN', 'Infinity', '-Infinity'])]);
export type MetricValue = z.output<typeof MetricValue>;

const ChartPoint = z
  .object({
    step: step.describe('last step of the bucket'),
    attempt: z.int().describe('the attempt of the stage that took that step'),
    value: MetricValue.describe('at that step'),
    min: z.number().nullable().describe('smallest finite value of the bucket; null when none is finite'),
    max: z.number().nullable(),
    count: z.int().describe('points in the bucket'),
    nonfinite: z.int().describe('those of them that are NaN or infinite'),
  })
  .meta({ id: 'MetricChartPoint' });
export type ChartPoint = z.output<typeof ChartPoint>;

/** The chart of one series. */
export const MetricChart = z
  .object({
    key: z.string(),
    latest: z.object({ step, attempt: z.int(), value: MetricValue, at: z.int().describe('Unix seconds') }).nullable(),
    level: z.int().describe('steps in one row of what the chart was drawn from: 1 (points), 64, 512 or 4096'),
    points: z.array(ChartPoint),
  })
  .meta({ id: 'MetricChart' });
export type MetricChart = z.output<typeof MetricChart>;

/** Answer of `GET …/metrics`: every series by key. */
export const MetricsAnswer = z.object({ object: z.literal('list'), data: z.array(MetricChart) }).meta({ id: 'MetricCharts' });
export type MetricsAnswer = z.output<typeof MetricsAnswer>;
