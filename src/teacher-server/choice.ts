import type { Sampling } from '../tokens/sample.js';
import type { TeacherRows } from './runtime.js';

/** Below this temperature the most probable id is taken, as vLLM does. */
const GREEDY_BELOW = 1e-5;
/** Smallest temperature that is drawn at, as in vLLM. */
const COLDEST = 0.01;

/** What the runtime must return of a row for `chooseId` to work, for a vocabulary of `vocabSize` ids. */
export interface DrawNeeds {
  /** Of the runtime's own draw; 1 where there is none. */
  readonly temperature: number;
  /** Whether the runtime draws from the whole distribution; otherwise the id is chosen here among the best. */
  readonly isFree: boolean;
  /** How many best ids. */
  readonly k: number;
}

type Drawing = Pick<Sampling, 'temperature' | 'topP' | 'topK'>;

/** Whether the most probable id is taken. */
export function isGreedy(sampling: Drawing): boolean {
  return sampling.temperature < GREEDY_BELOW;
}

/** A nucleus may need any number of ids, and its mass at a temperature is known only from all of them. */
export function drawNeeds(sampling: Drawing, vocabSize: number): DrawNeeds {
  if (isGreedy(sampling)) return { temperature: 1, isFree: false, k: 1 };
  if (sampling.topK > 0) return { temperature: 1, isFree: false, k: Math.min(sampling.topK, vocabSize) };
  if (sampling.topP < 1) return { temperature: 1, isFree: false, k: vocabSize };
  return { temperature: Math.max(sampling.temperature, COLDEST), isFree: true, k: 1 };
}

/** One row of a run's answers. */
export interface RowView {
  readonly rows: TeacherRows;
  readonly index: number;
  /** Best ids a row in `rows`. */
  readonly k: number;
}

/** An id with its log-prob at temperature 1 over the whole vocabulary. */
export interface Chosen {
  readonly id: number;
  readonly logProb: number;
}

/** The next id: drawn by inverse CDF in ascending order of ids from the tempered, truncated, renormalised distribution. @param uniform [0, 1) */
export function chooseId(view: RowView, sampling: Drawing, uniform: number): Chosen {
  const { rows, index, k } = view;
  if (isGreedy(sampling)) return { id: rows.topIds_RK[index * k], logProb: logProb(view, rows.topLogits_RK[index * k]) };
  if (sampling.topK === 0 && sampling.topP === 1) return { id: rows.sampledIds_R[index], logProb: logProb(view, rows.sampledLogits_R[index]) };
  const rank = drawRank(view, sampling, uniform);
  return { id: rows.topIds_RK[index * k + rank], logProb: logProb(view, rows.topLogits_RK[index * k + rank]) };
}

/** Natural log of the probability that belongs to a logit of the row, at most 0, in float32: one number for an id wherever it is told. */
export function logProb({ rows, index }: RowView, logit: number): number {
  return Math.fround(Math.min(0, logit - rows.logSumExp_R[index]));
}

/** The rank, 0 for the best, of the id that is drawn from the truncated distribution. */
function drawRank({ rows, index, k }: RowView, sampling: Drawing, uniform: number): number {
  const candidates = sampling.topK > 0 ? Math.min(sampling.topK, k) : k;
  const temperature = Math.max(sampling.temperature, COLDEST);
  const best = rows.topLogits_RK[index * k];
  const weights = Float64Array.from({ length: candidates }, (_, rank) => Math.exp((rows.topLogits_RK[index * k + rank] - best) / temperature));
  const kept = nucleusSize(weights, sampling.topP);
  const ranks = Array.from({ length: kept }, (_, rank) => rank).sort((a, b) => rows.topIds_RK[index * k + a] - rows.topIds_RK[index * k + b]);
  const goal = uniform * weights.subarray(0, kept).reduce((sum, weight) => sum + weight, 0);
  let running = 0;
  for (const rank of ranks) {
    running += weights[rank];
    if (running > goal) return rank;
  }
  return 0;
}

/** How many of the best make up at least `topP` of the sum. @param weights descending. */
function nucleusSize(weights: Float64Array, topP: number): number {
  if (topP === 1) return weights.length;
  const goal = topP * weights.reduce((sum, weight) => sum + weight, 0);
  let running = 0;
  for (let rank = 0; rank < weights.length; rank++) {
    running += weights[rank];
    if (running >= goal) return rank + 1;
  }
  return weights.length;
}
