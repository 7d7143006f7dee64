import { AppError } from '../common/errors.js';
import type { TokenIds } from './sample.js';

/** Both tails, the teacher's and the student's, are floored at this probability, so that no log-ratio is infinite. */
export const TAIL_FLOOR = 1e-6;

/**
 * A teacher's distribution at R consecutive positions of one sequence, in rows of varying length. Row r describes the prediction of one id;
 * its support is `ids_S[offsets_R1[r] .. offsets_R1[r + 1])`, distinct ids, best first, the actual id appended when it is outside the top k.
 */
export interface TargetBlock {
  /** Index of the sequence in the request that asked for it. */
  readonly index: number;
  /** int32 [R + 1], ascending from 0. */
  readonly offsets_R1: Int32Array;
  readonly ids_S: Int32Array;
  /** Natural log of the teacher's probability, <= 0. */
  readonly logProbs_S: Float32Array;
  /** Teacher probability outside exactly the stored support, [0, 1], not floored. */
  readonly tail_R: Float32Array;
  /** Natural log of the teacher's probability of the actual id at each row. */
  readonly actualLogProbs_R: Float32Array;
}

/** A sequence to score: rows are asked for the predictions of `ids_T[from] … ids_T[T - 1]`. `from` >= 1: nothing predicts the first id. */
export interface ScoreSequence {
  readonly ids_T: TokenIds;
  readonly from: number;
}

/** Raised when a target block breaks the contract above; says the row and the rule. */
export class TargetInvalid extends AppError {
  readonly code = 'tokens.target_invalid';
  readonly kind = 'invalid';
}

/**
 * Rescales each row so that support and floored tail sum to 1: `log q_j - log(sum q) + log(1 - max(tail, TAIL_FLOOR))`.
 * Losses are defined on such rows only.
 * @returns new arrays; the input is left alone.
 */
export function normaliseTargets(block: TargetBlock): { logProbs_S: Float32Array; tail_R: Float32Array } {
  const rows = block.offsets_R1.length - 1;
  const logProbs_S = new Float32Array(block.logProbs_S.length);
  const tail_R = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const begin = block.offsets_R1[row];
    const end = block.offsets_R1[row + 1];
    const tail = Math.max(block.tail_R[row], TAIL_FLOOR);
    let mass = 0;
    for (let s = begin; s < end; s++) mass += Math.exp(block.logProbs_S[s]);
    if (!(mass > 0)) throw new TargetInvalid(`row ${row} of sequence ${block.index}: its support holds no probability`);
    const shift = Math.log1p(-Math.min(tail, 1 - TAIL_FLOOR)) - Math.log(mass);
    for (let s = begin; s < end; s++) logProbs_S[s] = block.logProbs_S[s] + shift;
    tail_R[row] = tail;
  }
  return { logProbs_S, tail_R };
}
