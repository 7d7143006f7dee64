import type { PackedBatch } from '../../tokens/batch.js';

/** What `forwardBackward` gets from the default job: teacher's top 64 and the actual id. */
const SUPPORT = 65;
const IN_SUPPORT = 0.9;

/** Lengths of the sequences of a batch, and which of their rows carry loss. */
export interface BatchPlan {
  readonly lengths: readonly number[];
  /** How many rows carry loss, from the first of each sequence; default all but its last. */
  readonly lossRows?: readonly number[];
}

/** A batch of made-up ids with targets of 65 ids a row. The same plan gives the same batch. Rows with loss depend on the sequence and its place alone, so padding moves nothing. */
export function distillBatch(vocabSize: number, { lengths, lossRows = lengths.map((length) => length - 1) }: BatchPlan): PackedBatch {
  const cuSeqlens_S1 = Int32Array.from([0, ...lengths.map((_, s) => lengths.slice(0, s + 1).reduce((sum, length) => sum + length, 0))]);
  const id = (sequence: number, t: number): number => ((sequence * 104_729 + t + 1) * 7919) % vocabSize;
  const tokens = lengths.flatMap((length, s) => Array.from({ length }, (_, t) => id(s, t)));
  const rows = lengths.flatMap((_, s) => Array.from({ length: lossRows[s] }, (_row, t) => ({ at: cuSeqlens_S1[s] + t, label: id(s, t + 1) })));
  return {
    tokens_N: Int32Array.from(tokens),
    cuSeqlens_S1,
    rows_R: Int32Array.from(rows, ({ at }) => at),
    weights_R: new Float32Array(rows.length).fill(1),
    labels_R: Int32Array.from(rows, ({ label }) => label),
    targets: {
      offsets_R1: Int32Array.from({ length: rows.length + 1 }, (_, r) => r * SUPPORT),
      ids_E: Int32Array.from({ length: rows.length * SUPPORT }, (_, e) => (rows[Math.floor(e / SUPPORT)].label + (e % SUPPORT)) % vocabSize),
      logProbs_E: new Float32Array(rows.length * SUPPORT).fill(Math.log(IN_SUPPORT / SUPPORT)),
      tail_R: new Float32Array(rows.length).fill(1 - IN_SUPPORT),
    },
  };
}

/** The same sequences with the same rows of loss, each filled to the longest with rows that carry none. */
export function paddedPlan(lengths: readonly number[]): BatchPlan {
  const longest = Math.max(...lengths);
  return { lengths: lengths.map(() => longest), lossRows: lengths.map((length) => length - 1) };
}

/** A log-normal distribution of lengths, in tokens: exp(normal) x `median`, cut to [least, most]. */
export interface LengthMix {
  readonly median: number;
  /** Deviation of the logarithm. */
  readonly sigma: number;
  readonly least: number;
  readonly most: number;
}

/** `count` lengths at evenly spread quantiles of the distribution, in a fixed shuffled order. */
export function logNormalLengths({ median, sigma, least, most }: LengthMix, count: number): number[] {
  const sorted = Array.from({ length: count }, (_, i) => Math.round(Math.min(most, Math.max(least, median * Math.exp(sigma * normalQuantile((i + 0.5) / count))))));
  // A step coprime to the count visits every place once.
  let step = Math.max(1, Math.round(count * 0.618));
  while (greatestCommonDivisor(step, count) > 1) step++;
  return sorted.map((_, i) => sorted[(i * step) % count]);
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

// Bisection on the distribution function, whose error function is Abramowitz and Stegun 7.1.26 (error below 1.5e-7).
function normalQuantile(probability: number): number {
  let [low, high] = [-8, 8];
  while (high - low > 1e-6) {
    const middle = (low + high) / 2;
    if (normalDistribution(middle) < probability) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

function normalDistribution(x: number): number {
  const t = 1 / (1 + (0.3275911 * Math.abs(x)) / Math.SQRT2);
  const poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const half = (1 - poly * Math.exp(-(x ** 2) / 2)) / 2;
  return x < 0 ? 0.5 - half : 0.5 + half;
}
