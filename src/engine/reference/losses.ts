import { type LossKind, ROW_METRICS, type RowMetric } from '../../tokens/loss.js';
import { TAIL_FLOOR } from '../../tokens/target.js';

/** A teacher's row: support ids, natural log-probs and the probability outside the support; together they sum to 1. */
export interface TargetRow {
  readonly ids: ArrayLike<number>;
  readonly logProbs: ArrayLike<number>;
  readonly tail: number;
}

/** What one row gives: its metrics, of which `loss` is the trained one, and the gradient of that loss by the logits. */
export interface RowOutcome {
  /** Float64 [M], columns as `ROW_METRICS`. */
  readonly metrics_M: Float64Array;
  readonly dLogits_V: Float64Array;
}

/** A row's loss in nats and its gradient by the logits. */
export interface RowLoss {
  readonly loss: number;
  readonly dLogits_V: Float64Array;
}

/** The student's row and the teacher's brought together on the support S. */
interface Row {
  /** The student's log-probs over the whole vocabulary. */
  readonly logP_V: Float64Array;
  readonly inSupport_V: Uint8Array;
  /** log q_j on the support, 0 elsewhere. */
  readonly logQ_V: Float64Array;
  /** p_T summed over the ids off the support, not floored. */
  readonly studentTail: number;
  /** q_T, floored. */
  readonly teacherTail: number;
}

/** z - log sum exp z. */
export function logSoftmax(logits_V: Float64Array): Float64Array {
  const largest = logits_V.reduce((a, b) => Math.max(a, b));
  const logSum = largest + Math.log(logits_V.reduce((sum, z) => sum + Math.exp(z - largest), 0));
  return logits_V.map((z) => z - logSum);
}

/** Cross-entropy -log p_y; dz_j = p_j - [j = y]. */
export function hardLoss(logits_V: Float64Array, label: number): RowLoss {
  const logP_V = logSoftmax(logits_V);
  const dLogits_V = logP_V.map(Math.exp);
  dLogits_V[label] -= 1;
  return { loss: -logP_V[label], dLogits_V };
}

/**
 * KL(q || p) of the coarsened distributions: sum_S q log(q/p) + q_T log(q_T/p_T), both tails floored at `TAIL_FLOOR` (performance reference, loss A).
 * With Q = Q_S + q_T, which is 1 up to rounding, dz_j = Q p_j - q_j on S and p_j (Q - q_T/p_T) off it; when p_T is floored its term is constant and
 * dz_j = Q_S p_j - [j in S] q_j.
 */
export function forwardKlLoss(logits_V: Float64Array, target: TargetRow): RowLoss {
  return forwardKl(meet(logits_V, target));
}

/**
 * KL(p || q) of the coarsened distributions: L = sum_S p r + p_T r_T, r = log(p/q), tails floored alike (loss C). dz_j = p_j (r_j - L) with r_j = r_T off S;
 * when p_T is floored dz_j = p_j ([j in S](r_j + 1) - sum_S p (r + 1)).
 */
export function reverseKlLoss(logits_V: Float64Array, target: TargetRow): RowLoss {
  return reverseKl(meet(logits_V, target));
}

/** Everything measured at one row. @throws Error when a KL is asked for without a target. */
export function evaluateRow(kind: LossKind, logits_V: Float64Array, wanted: { readonly label: number; readonly target?: TargetRow }): RowOutcome {
  const { label, target } = wanted;
  const hard = hardLoss(logits_V, label);
  const measured: Partial<Record<RowMetric, number>> = { studentEntropy: entropy(logSoftmax(logits_V)), labelLogProb: -hard.loss };
  if (!target) {
    if (kind !== 'hard') throw new Error(`the loss ${kind} needs a target at every row`);
    return outcome(hard, measured);
  }
  const row = meet(logits_V, target);
  const forward = forwardKl(row);
  const reverse = reverseKl(row);
  const trained = { hard, forward_kl: forward, reverse_kl: reverse }[kind];
  return outcome(trained, { ...measured, ...comparison(row, target), forwardKl: forward.loss, reverseKl: reverse.loss });
}

function outcome(trained: RowLoss, measured: Partial<Record<RowMetric, number>>): RowOutcome {
  const metrics: Partial<Record<RowMetric, number>> = { ...measured, loss: trained.loss };
  return { metrics_M: Float64Array.from(ROW_METRICS, (name) => metrics[name] ?? NaN), dLogits_V: trained.dLogits_V };
}

function meet(logits_V: Float64Array, target: TargetRow): Row {
  const logP_V = logSoftmax(logits_V);
  const inSupport_V = new Uint8Array(logits_V.length);
  const logQ_V = new Float64Array(logits_V.length);
  for (let s = 0; s < target.ids.length; s++) {
    inSupport_V[target.ids[s]] = 1;
    logQ_V[target.ids[s]] = target.logProbs[s];
  }
  // Summed, never 1 minus the rest: the difference of two numbers near 1 would be rounding noise.
  const studentTail = logP_V.reduce((sum, logP, j) => (inSupport_V[j] ? sum : sum + Math.exp(logP)), 0);
  return { logP_V, inSupport_V, logQ_V, studentTail, teacherTail: Math.max(target.tail, TAIL_FLOOR) };
}

function forwardKl({ logP_V, inSupport_V, logQ_V, studentTail, teacherTail }: Row): RowLoss {
  const isFloored = studentTail < TAIL_FLOOR;
  let loss = teacherTail * Math.log(teacherTail / Math.max(studentTail, TAIL_FLOOR));
  let mass = isFloored ? 0 : teacherTail;
  for (let j = 0; j < logP_V.length; j++) {
    if (!inSupport_V[j]) continue;
    const q = Math.exp(logQ_V[j]);
    loss += q * (logQ_V[j] - logP_V[j]);
    mass += q;
  }
  const tailRatio = isFloored ? 0 : teacherTail / studentTail;
  const dLogits_V = logP_V.map((logP, j) => (inSupport_V[j] ? mass * Math.exp(logP) - Math.exp(logQ_V[j]) : Math.exp(logP) * (mass - tailRatio)));
  return { loss, dLogits_V };
}

function reverseKl({ logP_V, inSupport_V, logQ_V, studentTail, teacherTail }: Row): RowLoss {
  const isFloored = studentTail < TAIL_FLOOR;
  const floored = Math.max(studentTail, TAIL_FLOOR);
  const tailRatio = Math.log(floored / teacherTail);
  let onSupport = 0;
  let mass = 0;
  for (let j = 0; j < logP_V.length; j++) {
    if (!inSupport_V[j]) continue;
    onSupport += Math.exp(logP_V[j]) * (logP_V[j] - logQ_V[j]);
    mass += Math.exp(logP_V[j]);
  }
  const loss = onSupport + floored * tailRatio;
  const dLogits_V = logP_V.map((logP, j) => {
    const ratio = inSupport_V[j] ? logP - logQ_V[j] : tailRatio;
    if (!isFloored) return Math.exp(logP) * (ratio - loss);
    return Math.exp(logP) * ((inSupport_V[j] ? ratio + 1 : 0) - onSupport - mass);
  });
  return { loss, dLogits_V };
}

function comparison(row: Row, target: TargetRow): Partial<Record<RowMetric, number>> {
  const logQ = Array.from(target.logProbs);
  const best = target.ids[logQ.indexOf(Math.max(...logQ))];
  const supportMass = row.logP_V.reduce((sum, logP, j) => (row.inSupport_V[j] ? sum + Math.exp(logP) : sum), 0);
  const teacherEntropy = -logQ.reduce((sum, value) => sum + Math.exp(value) * value, 0) - row.teacherTail * Math.log(row.teacherTail);
  return { supportMass, teacherEntropy, agreement: row.logP_V.indexOf(row.logP_V.reduce((a, b) => Math.max(a, b))) === best ? 1 : 0 };
}

function entropy(logP_V: Float64Array): number {
  return -logP_V.reduce((sum, logP) => sum + Math.exp(logP) * logP, 0);
}
