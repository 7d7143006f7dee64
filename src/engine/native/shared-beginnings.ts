import { qkvColumns, type HeadGeometry } from './operations.js';
import { packedPositions, type PackedIds } from './packing.js';

/** Sizes that say what a row takes. */
interface RowShape extends HeadGeometry {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
}

/** The rows to run for N packed tokens. */
export interface RowPlan {
  /** int32 [U] each, U <= N. */
  readonly tokens_U: Int32Array;
  readonly positions_U: Int32Array;
  /** Absent where row n is token n. */
  readonly shared?: SharedRows;
}

/** Which tokens a row stands for. */
export interface SharedRows {
  /** int32 [N]: the row of each token. */
  readonly rowOf_N: Int32Array;
  /** int32 [U]: the first token of each row. */
  readonly tokenOf_U: Int32Array;
}

/**
 * What sequences begin with alike, a system prompt, or the prompt of several samples, becomes rows of one of them: a row depends on nothing but the tokens up to it,
 * so it stands for all, and its gradient is the sum of theirs. Attention alone needs every sequence whole and works on copies, so rows are shared only where the
 * memory of those is won back.
 */
export function shareBeginnings(packed: PackedIds, shape: RowShape): RowPlan {
  const { tokens_N } = packed;
  const shared = sharedRows(packed);
  const wonElements = (tokens_N.length - shared.tokenOf_U.length) * rowElements(shape);
  const positions_N = packedPositions(packed.cuSeqlens_S1);
  if (wonElements < tokens_N.length * copiedElements(shape)) return { tokens_U: tokens_N, positions_U: positions_N };
  return { tokens_U: shared.tokenOf_U.map((token) => tokens_N[token]), positions_U: shared.tokenOf_U.map((token) => positions_N[token]), shared };
}

// Of sequences in the order of their bytes, the one before has the longest beginning in common.
function sharedRows({ tokens_N, cuSeqlens_S1 }: PackedIds): SharedRows {
  const rowOf_N = new Int32Array(tokens_N.length);
  const tokenOf_U: number[] = [];
  const sequences = Array.from({ length: cuSeqlens_S1.length - 1 }, (_, s) => ({ begin: cuSeqlens_S1[s], ids: tokens_N.subarray(cuSeqlens_S1[s], cuSeqlens_S1[s + 1]) }));
  sequences.sort((a, b) => compareIds(a.ids, b.ids) || a.begin - b.begin);
  for (const [s, { begin, ids }] of sequences.entries()) {
    const alike = s === 0 ? 0 : commonLength(ids, sequences[s - 1].ids);
    if (alike > 0) rowOf_N.copyWithin(begin, sequences[s - 1].begin, sequences[s - 1].begin + alike);
    for (let t = alike; t < ids.length; t++) rowOf_N[begin + t] = tokenOf_U.push(begin + t) - 1;
  }
  return { rowOf_N, tokenOf_U: Int32Array.from(tokenOf_U) };
}

/** An order in which ids that begin alike stand together. */
export function compareIds(a: Int32Array, b: Int32Array): number {
  return Buffer.compare(bytesOf(a), bytesOf(b));
}

/** How many ids two sequences begin with alike. */
export function commonLength(a: Int32Array, b: Int32Array): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a[length] === b[length]) length++;
  return length;
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** bf16 elements that a row takes at one time in a pass without a tape. */
function rowElements({ hiddenSize, intermediateSize, ...geometry }: RowShape): number {
  return hiddenSize + copiedElements(geometry) + 3 * intermediateSize;
}

/** Of these, those of which attention has a copy a token: q|k|v and what it gives. */
function copiedElements(geometry: HeadGeometry): number {
  return qkvColumns(geometry) + geometry.heads * geometry.headDim;
}
