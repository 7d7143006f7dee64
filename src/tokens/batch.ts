import { AppError } from '../common/errors.js';

/**
 * Sequences laid end to end without padding, and the rows of them that carry loss. N = all tokens, S1 = sequences + 1, R = rows with loss,
 * E = support entries. Row n predicts id n + 1 of its own sequence, so a sequence's last row never carries loss.
 */
export interface PackedBatch {
  /** int32 [N], ids in [0, V). */
  readonly tokens_N: Int32Array;
  /** int32 [S1], ascending from 0 to N; positions restart at each entry. */
  readonly cuSeqlens_S1: Int32Array;
  /** int32 [R], ascending indices into N. */
  readonly rows_R: Int32Array;
  /** float32 [R], > 0. */
  readonly weights_R: Float32Array;
  /** int32 [R], the id that follows each row. */
  readonly labels_R: Int32Array;
  /** Absent only for the loss `hard`. */
  readonly targets?: PackedTargets;
}

/** Teacher rows for `rows_R`, normalised: support and tail of each row sum to 1 and the tail is at least `TAIL_FLOOR`. */
export interface PackedTargets {
  /** int32 [R + 1], ascending from 0 to E. */
  readonly offsets_R1: Int32Array;
  /** int32 [E], distinct within a row. */
  readonly ids_E: Int32Array;
  /** float32 [E], natural logs. */
  readonly logProbs_E: Float32Array;
  /** float32 [R], probability. */
  readonly tail_R: Float32Array;
}

/** Raised when a batch breaks the contract above, before any work. */
export class BatchInvalid extends AppError {
  readonly code = 'tokens.batch_invalid';
  readonly kind = 'invalid';
}

/** @throws BatchInvalid naming the first broken rule. `vocabSize` is V of the model that will read the batch. */
export function checkBatch(batch: PackedBatch, vocabSize: number): void {
  const total = batch.tokens_N.length;
  const { cuSeqlens_S1: cu, rows_R, weights_R, labels_R, targets } = batch;
  if (cu.length < 2 || cu[0] !== 0 || cu[cu.length - 1] !== total) {
    throw new BatchInvalid(`cuSeqlens_S1 must run from 0 to the ${total} tokens of the batch`);
  }
  const isLast = new Uint8Array(total);
  for (let s = 1; s < cu.length; s++) {
    if (cu[s] <= cu[s - 1]) throw new BatchInvalid(`cuSeqlens_S1[${s}] is ${cu[s]}; each sequence needs at least one token`);
    isLast[cu[s] - 1] = 1;
  }
  checkIds(batch.tokens_N, vocabSize, 'tokens_N');
  if (weights_R.length !== rows_R.length || labels_R.length !== rows_R.length) {
    throw new BatchInvalid(`rows_R, weights_R and labels_R must have one length; they have ${rows_R.length}, ${weights_R.length}, ${labels_R.length}`);
  }
  for (let r = 0; r < rows_R.length; r++) {
    const row = rows_R[r];
    if (row < 0 || row >= total || (r > 0 && row <= rows_R[r - 1])) throw new BatchInvalid(`rows_R[${r}] is ${row}; rows must ascend within [0, ${total})`);
    if (isLast[row]) throw new BatchInvalid(`rows_R[${r}] is the last row of its sequence, which predicts nothing`);
    if (!(weights_R[r] > 0 && weights_R[r] < Infinity)) throw new BatchInvalid(`weights_R[${r}] is ${weights_R[r]}; it must be finite and > 0`);
  }
  checkIds(labels_R, vocabSize, 'labels_R');
  if (targets) checkTargets(targets, rows_R.length, vocabSize);
}

function checkTargets(targets: PackedTargets, rows: number, vocabSize: number): void {
  const { offsets_R1, ids_E, logProbs_E, tail_R } = targets;
  if (offsets_R1.length !== rows + 1 || offsets_R1[0] !== 0 || offsets_R1[rows] !== ids_E.length) {
    throw new BatchInvalid(`offsets_R1 must have ${rows + 1} entries from 0 to ${ids_E.length}`);
  }
  if (logProbs_E.length !== ids_E.length || tail_R.length !== rows) throw new BatchInvalid('logProbs_E must match ids_E, and tail_R must match rows_R');
  for (let r = 0; r < rows; r++) {
    if (offsets_R1[r + 1] <= offsets_R1[r]) throw new BatchInvalid(`target row ${r} has an empty support`);
    if (!(tail_R[r] > 0 && tail_R[r] < 1)) throw new BatchInvalid(`tail_R[${r}] is ${tail_R[r]}; it must lie inside (0, 1)`);
  }
  checkIds(ids_E, vocabSize, 'ids_E');
  for (let e = 0; e < logProbs_E.length; e++) {
    if (!(logProbs_E[e] <= 1e-4)) throw new BatchInvalid(`logProbs_E[${e}] is ${logProbs_E[e]}; a log-probability is at most 0`);
  }
}

function checkIds(ids: Int32Array, vocabSize: number, name: string): void {
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] < 0 || ids[i] >= vocabSize) throw new BatchInvalid(`${name}[${i}] is ${ids[i]}; ids of this model lie in [0, ${vocabSize})`);
  }
}
