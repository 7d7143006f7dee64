/** Position of each token within its own sequence. */
export function packedPositions(cuSeqlens_S1: Int32Array): Int32Array {
  const positions_N = new Int32Array(cuSeqlens_S1[cuSeqlens_S1.length - 1]);
  for (let s = 1; s < cuSeqlens_S1.length; s++) {
    for (let n = cuSeqlens_S1[s - 1]; n < cuSeqlens_S1[s]; n++) positions_N[n] = n - cuSeqlens_S1[s - 1];
  }
  return positions_N;
}

/** Sequences laid end to end. */
export interface PackedIds {
  readonly tokens_N: Int32Array;
  readonly cuSeqlens_S1: Int32Array;
}

export function packIds(sequences: readonly Int32Array[]): PackedIds {
  const cuSeqlens_S1 = new Int32Array(sequences.length + 1);
  for (const [s, ids] of sequences.entries()) cuSeqlens_S1[s + 1] = cuSeqlens_S1[s] + ids.length;
  const tokens_N = new Int32Array(cuSeqlens_S1[sequences.length]);
  for (const [s, ids] of sequences.entries()) tokens_N.set(ids, cuSeqlens_S1[s]);
  return { tokens_N, cuSeqlens_S1 };
}

/**
 * Cuts a list into runs of consecutive items of at most `most` tokens each; an item longer than that stands alone. A function of the lengths
 * alone.
 */
export function groupByTokens<T>(items: readonly T[], length: (item: T) => number, most: number): T[][] {
  const groups: T[][] = [];
  let tokens = Infinity;
  for (const item of items) {
    tokens += length(item);
    if (tokens <= most) {
      groups[groups.length - 1].push(item);
      continue;
    }
    groups.push([item]);
    tokens = length(item);
  }
  return groups;
}
