import type { PackedBatch } from '../../tokens/batch.js';
import type { TargetRow } from './losses.js';

/** A `PackedBatch` whose targets may be given in more than float32, so that tests see the losses without its rounding. */
export type ReferenceBatch = Omit<PackedBatch, 'targets'> & { readonly targets?: ReferenceTargets };

/** As `PackedTargets`. */
export interface ReferenceTargets {
  readonly offsets_R1: Int32Array;
  readonly ids_E: Int32Array;
  readonly logProbs_E: Float32Array | Float64Array;
  readonly tail_R: Float32Array | Float64Array;
}

/** The batch as the seam knows it. */
export function roundBatch(batch: ReferenceBatch): PackedBatch {
  const { targets } = batch;
  return { ...batch, targets: targets && { ...targets, logProbs_E: Float32Array.from(targets.logProbs_E), tail_R: Float32Array.from(targets.tail_R) } };
}

/** The target of row r, if the batch has targets. */
export function targetRow(targets: ReferenceTargets | undefined, r: number): TargetRow | undefined {
  if (!targets) return undefined;
  const begin = targets.offsets_R1[r];
  const end = targets.offsets_R1[r + 1];
  return { ids: targets.ids_E.subarray(begin, end), logProbs: targets.logProbs_E.subarray(begin, end), tail: targets.tail_R[r] };
}
