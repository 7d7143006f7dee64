import type { ScoreSequence, TargetBlock } from '../../tokens/target.js';
import type { Decoder } from './decoder.js';
import { logSoftmax } from './losses.js';
import { rankIds } from './sampler.js';
import { Tape } from './tape.js';

/** A `TargetBlock` before its numbers are rounded to float32. */
export type ExactTargetBlock = Pick<TargetBlock, 'index' | 'offsets_R1' | 'ids_S'> & {
  readonly logProbs_S: Float64Array;
  readonly tail_R: Float64Array;
  readonly actualLogProbs_R: Float64Array;
};

/** The model's own distribution at each asked row: top `k` best first, the actual id appended when it is not among them, and the mass of all others. */
export function scoreSequence(decoder: Decoder, sequence: ScoreSequence, wanted: { readonly index: number; readonly k: number }): ExactTargetBlock {
  const { ids_T, from } = sequence;
  const rows_R = Int32Array.from({ length: ids_T.length - from }, (_, r) => from - 1 + r);
  const logits_RV = decoder.logits(new Tape(), { tokens_N: ids_T, cuSeqlens_S1: Int32Array.of(0, ids_T.length) }, rows_R);
  const rows = Array.from(rows_R, (row, r) => {
    const logits_V = logits_RV.values.subarray(r * logits_RV.columns, (r + 1) * logits_RV.columns);
    return scoreRow(logits_V, ids_T[row + 1], wanted.k);
  });
  const offsets = [0];
  for (const { ids } of rows) offsets.push(offsets[offsets.length - 1] + ids.length);
  return {
    index: wanted.index,
    offsets_R1: Int32Array.from(offsets),
    ids_S: Int32Array.from(rows.flatMap(({ ids }) => ids)),
    logProbs_S: Float64Array.from(rows.flatMap(({ logProbs }) => logProbs)),
    tail_R: Float64Array.from(rows, ({ tail }) => tail),
    actualLogProbs_R: Float64Array.from(rows, ({ actual }) => actual),
  };
}

/** Rounds to what the seam carries. */
export function roundBlock(block: ExactTargetBlock): TargetBlock {
  return {
    ...block,
    logProbs_S: Float32Array.from(block.logProbs_S),
    tail_R: Float32Array.from(block.tail_R),
    actualLogProbs_R: Float32Array.from(block.actualLogProbs_R),
  };
}

function scoreRow(logits_V: Float64Array, actual: number, k: number): { ids: number[]; logProbs: number[]; tail: number; actual: number } {
  const logP_V = logSoftmax(logits_V);
  const top = rankIds(logP_V).slice(0, k);
  const ids = top.includes(actual) ? top : [...top, actual];
  const inSupport = new Set(ids);
  const tail = logP_V.reduce((sum, logP, id) => (inSupport.has(id) ? sum : sum + Math.exp(logP)), 0);
  return { ids, logProbs: ids.map((id) => logP_V[id]), tail, actual: logP_V[actual] };
}
