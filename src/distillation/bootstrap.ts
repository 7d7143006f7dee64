import { below, STREAMS } from './random.js';
import type { Difference } from './report.js';

/** Resamples of an interval. */
const RESAMPLES = 2000;
/** Share of resamples left out at each end: 95 % stay. */
const CUT = 0.025;

/** A mean as sums per prompt: the value is the sum of `sums_P` over that of `counts_P`, so that each token counts alike. */
export interface PromptMean {
  readonly sums_P: readonly number[];
  /** >= 0; 0 where a prompt has nothing to say. */
  readonly counts_P: readonly number[];
}

/** The mean itself; NaN when no prompt has anything to say. */
export function meanOf({ sums_P, counts_P }: PromptMean): number {
  return total(sums_P) / total(counts_P);
}

/** Percentile bootstrap over prompts (Efron 1979): each resample draws as many prompts with replacement. */
export function meanInterval(mean: PromptMean, seed: number): Difference {
  return interval({ value: meanOf(mean), prompts: mean.sums_P.length, seed }, (drawn) => resampledMean(mean, drawn));
}

/**
 * The difference `after - before`, paired: a resample takes the same prompts on both sides, so what makes a prompt hard cancels.
 * Both must speak of the same prompts in the same order.
 */
export function pairedDifference({ before, after }: { before: PromptMean; after: PromptMean }, seed: number): Difference {
  const value = meanOf(after) - meanOf(before);
  return interval({ value, prompts: before.sums_P.length, seed }, (drawn) => resampledMean(after, drawn) - resampledMean(before, drawn));
}

/** @param statistic the value of a resample, given the prompts drawn; NaN when none of them has anything to say. */
function interval({ value, prompts, seed }: { value: number; prompts: number; seed: number }, statistic: (drawn: readonly number[]) => number): Difference {
  const values = Float64Array.from({ length: RESAMPLES }, (_, step) => statistic(drawPrompts(prompts, { seed, step })));
  const sorted = values.filter((resampled) => !Number.isNaN(resampled)).sort();
  return { value, low: quantile(sorted, CUT), high: quantile(sorted, 1 - CUT) };
}

function drawPrompts(prompts: number, { seed, step }: { seed: number; step: number }): number[] {
  return Array.from({ length: prompts }, (_, sample) => below(prompts, { seed, stage: STREAMS.bootstrap, step, sample, position: 0 }));
}

function resampledMean({ sums_P, counts_P }: PromptMean, drawn: readonly number[]): number {
  let sum = 0;
  let count = 0;
  for (const prompt of drawn) {
    sum += sums_P[prompt];
    count += counts_P[prompt];
  }
  return sum / count;
}

/** Linear interpolation between order statistics. */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const floor = Math.floor(place);
  const above = Math.min(floor + 1, sorted.length - 1);
  return sorted[floor] + (place - floor) * (sorted[above] - sorted[floor]);
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
