/**
 * What a step minimises, in nats per token. `tail_bucket` compares the (k + 1)-way distributions of the support and everything else
 * (performance reference, losses A and C): KL(q || p) forward, KL(p || q) reverse, p student, q teacher. `hard` is cross-entropy on the label.
 */
export type LossSpec =
  | { readonly kind: 'forward_kl'; readonly truncation: 'tail_bucket' }
  | { readonly kind: 'reverse_kl'; readonly truncation: 'tail_bucket' }
  | { readonly kind: 'hard' };

export type LossKind = LossSpec['kind'];
export const LOSS_KINDS: readonly LossKind[] = ['forward_kl', 'reverse_kl', 'hard'];

/**
 * What is measured at every row, at temperature 1, in this column order (M columns): the trained loss, both bucketed KLs, the student's full
 * entropy, the teacher's bucketed entropy, the student's mass on the support, 1 where both have the same most probable id, and the student's
 * log-prob of the label. Without targets the columns that need a teacher hold NaN.
 */
export const ROW_METRICS = ['loss', 'forwardKl', 'reverseKl', 'studentEntropy', 'teacherEntropy', 'supportMass', 'agreement', 'labelLogProb'] as const;
export type RowMetric = (typeof ROW_METRICS)[number];

/** The outcome of one batch. */
export interface LossSums {
  /** Sum over rows of weight x loss, nats, before any division. */
  readonly lossNats: number;
  /** Sum of the rows' weights. */
  readonly weightSum: number;
  /** float32 [R x M], row-major, unweighted, in the order of the batch's `rows_R`; columns as `ROW_METRICS`. */
  readonly rowMetrics_RM: Float32Array;
}
