import type { Engine } from '../../src/engine/engine.js';
import type { PackedBatch, PackedTargets } from '../../src/tokens/batch.js';
import { normaliseTargets, type ScoreSequence, type TargetBlock } from '../../src/tokens/target.js';

/** Sequences with the targets that `teacher` gives their rows from `from` on, packed in order; row weights 1, 2, 1, 2, … */
export async function scoredBatch(teacher: Engine, sequences: readonly ScoreSequence[], k: number): Promise<PackedBatch> {
  return { ...packSequences(sequences), targets: joinTargets(await listed(teacher.score({ sequences, k }))) };
}

/** The same batch without targets. */
export function packSequences(sequences: readonly ScoreSequence[]): Omit<PackedBatch, 'targets'> {
  const rows: number[] = [];
  const labels: number[] = [];
  const cuSeqlens = [0];
  for (const { ids_T, from } of sequences) {
    const start = cuSeqlens[cuSeqlens.length - 1];
    for (let t = from; t < ids_T.length; t++) {
      rows.push(start + t - 1);
      labels.push(ids_T[t]);
    }
    cuSeqlens.push(start + ids_T.length);
  }
  return {
    tokens_N: Int32Array.from(sequences.flatMap(({ ids_T }) => [...ids_T])),
    cuSeqlens_S1: Int32Array.from(cuSeqlens),
    rows_R: Int32Array.from(rows),
    weights_R: Float32Array.from(rows, (_, r) => 1 + (r % 2)),
    labels_R: Int32Array.from(labels),
  };
}

/** Everything a stream yields, in its order. */
export async function listed<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

function joinTargets(blocks: readonly TargetBlock[]): PackedTargets {
  const normalised = blocks.map((block) => normaliseTargets(block));
  return {
    ...joinSupports(blocks),
    logProbs_E: Float32Array.from(normalised.flatMap(({ logProbs_S }) => [...logProbs_S])),
    tail_R: Float32Array.from(normalised.flatMap(({ tail_R }) => [...tail_R])),
  };
}

/** The supports of consecutive blocks as those of one batch. */
export function joinSupports(blocks: readonly Pick<TargetBlock, 'offsets_R1' | 'ids_S'>[]): Pick<PackedTargets, 'offsets_R1' | 'ids_E'> {
  const offsets = [0];
  for (const { offsets_R1 } of blocks) {
    const base = offsets[offsets.length - 1];
    offsets.push(...offsets_R1.subarray(1).map((offset) => base + offset));
  }
  return { offsets_R1: Int32Array.from(offsets), ids_E: Int32Array.from(blocks.flatMap(({ ids_S }) => [...ids_S])) };
}

/** The sum of a batch's weights. */
export function weightOf(batch: PackedBatch): number {
  return batch.weights_R.reduce((sum, weight) => sum + weight, 0);
}
