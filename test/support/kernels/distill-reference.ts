import type { LossKind } from '../../../src/tokens/loss.js';
import { TAIL_FLOOR } from '../../../src/tokens/target.js';
import { logitsRow, logSoftmax, ranking, type HeadProblem } from './head-reference.js';

/** The teacher at one row. */
export interface TargetRow {
  readonly ids_S: readonly number[];
  readonly logProbs_S: readonly number[];
  readonly tail: number;
}

interface Bucketed {
  readonly logP_V: Float64Array;
  /** log p - log q on the support. */
  readonly ratios_S: readonly number[];
  readonly tail: number;
  readonly isFloored: boolean;
  readonly tailRatio: number;
}

/** The student's probability off the support, not floored. */
export function studentTail(logits_V: ArrayLike<number>, ids_S: readonly number[]): number {
  const support = new Set(ids_S);
  return logSoftmax(logits_V).reduce((sum, logP, id) => (support.has(id) ? sum : sum + Math.exp(logP)), 0);
}

function bucket(logits_V: ArrayLike<number>, target: TargetRow): Bucketed {
  const logP_V = logSoftmax(logits_V);
  const mass = studentTail(logits_V, target.ids_S);
  const tail = Math.max(mass, TAIL_FLOOR);
  return {
    logP_V,
    ratios_S: target.ids_S.map((id, s) => logP_V[id] - target.logProbs_S[s]),
    tail,
    isFloored: mass <= TAIL_FLOOR,
    tailRatio: Math.log(tail / target.tail),
  };
}

/** Loss of one row in nats: the definitions of `kernels/ops/distill_head.h`. */
export function lossReference(kind: LossKind, logits_V: ArrayLike<number>, row: { readonly label: number; readonly target?: TargetRow }): number {
  if (kind === 'hard' || !row.target) return -logSoftmax(logits_V)[row.label];
  const { target } = row;
  const { logP_V, ratios_S, tail, tailRatio } = bucket(logits_V, target);
  if (kind === 'forward_kl') return target.logProbs_S.reduce((sum, logQ, s) => sum - Math.exp(logQ) * ratios_S[s], -target.tail * tailRatio);
  return target.ids_S.reduce((sum, id, s) => sum + Math.exp(logP_V[id]) * ratios_S[s], tail * tailRatio);
}

/** Its gradient with respect to the logits, in closed form. */
export function logitGradientReference(kind: LossKind, logits_V: ArrayLike<number>, row: { readonly label: number; readonly target?: TargetRow }): Float64Array {
  const p_V = logSoftmax(logits_V).map(Math.exp);
  if (kind === 'hard' || !row.target) return p_V.map((p, id) => (id === row.label ? p - 1 : p));
  const { target } = row;
  const { ratios_S, tail, isFloored, tailRatio } = bucket(logits_V, target);
  const q_S = target.logProbs_S.map(Math.exp);
  const supportMass = q_S.reduce((sum, q) => sum + q, 0);
  const at = new Map(target.ids_S.map((id, s) => [id, s]));
  if (kind === 'forward_kl') {
    const offSupport = isFloored ? supportMass : 1 - target.tail / tail;
    return p_V.map((p, id) => {
      const s = at.get(id);
      return s === undefined ? p * offSupport : p * (isFloored ? supportMass : 1) - q_S[s];
    });
  }
  const loss = lossReference(kind, logits_V, row);
  const floored = target.ids_S.reduce((sum, id, s) => sum + p_V[id] * (ratios_S[s] + 1), 0);
  return p_V.map((p, id) => {
    const s = at.get(id);
    if (isFloored) return p * ((s === undefined ? 0 : ratios_S[s] + 1) - floored);
    return p * ((s === undefined ? tailRatio : ratios_S[s]) - loss);
  });
}

/** The columns of `ROW_METRICS` for one row. */
export function metricsReference(kind: LossKind, logits_V: ArrayLike<number>, row: { readonly label: number; readonly target?: TargetRow }): number[] {
  const logP_V = logSoftmax(logits_V);
  const entropy = -logP_V.reduce((sum, logP) => sum + Math.exp(logP) * logP, 0);
  const loss = lossReference(kind, logits_V, row);
  if (!row.target) return [loss, NaN, NaN, entropy, NaN, NaN, NaN, logP_V[row.label]];
  const { ids_S, logProbs_S, tail } = row.target;
  return [
    loss, lossReference('forward_kl', logits_V, row), lossReference('reverse_kl', logits_V, row), entropy,
    -logProbs_S.reduce((sum, logQ) => sum + Math.exp(logQ) * logQ, tail * Math.log(tail)),
    ids_S.reduce((sum, id) => sum + Math.exp(logP_V[id]), 0),
    ranking(logits_V)[0] === ids_S[ranking(logProbs_S)[0]] ? 1 : 0,
    logP_V[row.label],
  ];
}

/** Metrics of every row and the gradients of sum(scale x loss), in float64. */
export function distillReference(kind: LossKind, head: HeadProblem, rows: { readonly scale_R: ArrayLike<number>; readonly targets?: readonly TargetRow[] }): {
  readonly metrics_RM: number[];
  readonly dhidden_RD: Float64Array;
  readonly dweight_VD: Float64Array;
} {
  const { R, V, D } = head;
  const metrics_RM: number[] = [];
  const [dhidden_RD, dweight_VD] = [new Float64Array(R * D), new Float64Array(V * D)];
  for (let r = 0; r < R; r++) {
    const row = { label: head.labels_R[r], target: rows.targets?.[r] };
    const logits_V = logitsRow(head, r);
    metrics_RM.push(...metricsReference(kind, logits_V, row));
    logitGradientReference(kind, logits_V, row).forEach((dz, v) => {
      for (let d = 0; d < D; d++) {
        dhidden_RD[r * D + d] += rows.scale_R[r] * dz * head.weight_VD[v * D + d];
        dweight_VD[v * D + d] += rows.scale_R[r] * dz * head.hidden_RD[r * D + d];
      }
    });
  }
  return { metrics_RM, dhidden_RD, dweight_VD };
}
