import type { PackedBatch, PackedTargets } from '../tokens/batch.js';
import type { LossKind } from '../tokens/loss.js';
import type { Sample } from '../tokens/sample.js';
import { normaliseTargets, type TargetBlock } from '../tokens/target.js';

/** A sample with the teacher's row for each id of its completion. */
export interface TargetedSample extends Sample {
  readonly targets: TargetBlock;
}

/** Tokens the engine reads for a sample. */
export function tokensOf({ prompt_T, completion_T }: Sample): number {
  return prompt_T.length + completion_T.length;
}

/**
 * Lays samples end to end. The row before each completion id carries loss of weight 1, the stop id's included; prompt rows carry none.
 * Targets are normalised here; the loss `hard` gets none.
 */
export function packBatch(samples: readonly TargetedSample[], loss: LossKind): PackedBatch {
  const tokens_N = new Int32Array(total(samples, tokensOf));
  const rows = total(samples, ({ completion_T }) => completion_T.length);
  const cuSeqlens_S1 = new Int32Array(samples.length + 1);
  const rows_R = new Int32Array(rows);
  const labels_R = new Int32Array(rows);
  let n = 0;
  let r = 0;
  for (const [s, { prompt_T, completion_T }] of samples.entries()) {
    tokens_N.set(prompt_T, n);
    tokens_N.set(completion_T, n + prompt_T.length);
    labels_R.set(completion_T, r);
    for (let t = 0; t < completion_T.length; t++) rows_R[r + t] = n + prompt_T.length - 1 + t;
    n += prompt_T.length + completion_T.length;
    r += completion_T.length;
    cuSeqlens_S1[s + 1] = n;
  }
  const batch = { tokens_N, cuSeqlens_S1, rows_R, labels_R, weights_R: new Float32Array(rows).fill(1) };
  return loss === 'hard' ? batch : { ...batch, targets: packTargets(samples.map(({ targets }) => targets)) };
}

function packTargets(blocks: readonly TargetBlock[]): PackedTargets {
  const rows = total(blocks, ({ tail_R }) => tail_R.length);
  const entries = total(blocks, ({ ids_S }) => ids_S.length);
  const offsets_R1 = new Int32Array(rows + 1);
  const ids_E = new Int32Array(entries);
  const logProbs_E = new Float32Array(entries);
  const tail_R = new Float32Array(rows);
  let r = 0;
  let e = 0;
  for (const block of blocks) {
    const normal = normaliseTargets(block);
    ids_E.set(block.ids_S, e);
    logProbs_E.set(normal.logProbs_S, e);
    tail_R.set(normal.tail_R, r);
    for (let row = 1; row < block.offsets_R1.length; row++) offsets_R1[r + row] = e + block.offsets_R1[row];
    r += block.tail_R.length;
    e += block.ids_S.length;
  }
  return { offsets_R1, ids_E, logProbs_E, tail_R };
}

function total<Item>(items: readonly Item[], sizeOf: (item: Item) => number): number {
  return items.reduce((sum, item) => sum + sizeOf(item), 0);
}
