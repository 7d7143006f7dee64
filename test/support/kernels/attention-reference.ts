/** Sizes of one attention problem in float64: C = (heads + 2 kvHeads) width columns a fused q|k|v row. */
export interface AttentionSizes {
  readonly cuSeqlens_S1: readonly number[];
  readonly heads: number;
  readonly kvHeads: number;
  readonly width: number;
}

interface HeadView {
  readonly first: number;
  readonly query: number;
  readonly head: number;
}

/** Columns of a fused row. */
export function fusedColumns(sizes: AttentionSizes): number {
  return (sizes.heads + 2 * sizes.kvHeads) * sizes.width;
}

/** Plain causal attention, one query and head after the other; the formulas of `kernels/ops/attention.h`. */
export function attentionReference(sizes: AttentionSizes, qkv_NC: ArrayLike<number>): { out: Float64Array; lse: Float64Array } {
  const rows = sizes.cuSeqlens_S1[sizes.cuSeqlens_S1.length - 1];
  const out = new Float64Array(rows * sizes.heads * sizes.width);
  const lse = new Float64Array(rows * sizes.heads);
  forEachQuery(sizes, (view) => {
    const { probabilities, logSum } = softmaxRow(sizes, qkv_NC, view);
    lse[view.query * sizes.heads + view.head] = logSum;
    probabilities.forEach((probability, j) => {
      for (let d = 0; d < sizes.width; d++) {
        out[(view.query * sizes.heads + view.head) * sizes.width + d] += probability * qkv_NC[valueAt(sizes, view, j) + d];
      }
    });
  });
  return { out, lse };
}

/** The gradient of sum(dout x out) with respect to every element of the fused rows. */
export function attentionGradientReference(sizes: AttentionSizes, qkv_NC: ArrayLike<number>, dout: ArrayLike<number>): Float64Array {
  const dqkv_NC = new Float64Array(qkv_NC.length);
  const scale = 1 / Math.sqrt(sizes.width);
  forEachQuery(sizes, (view) => {
    const { probabilities } = softmaxRow(sizes, qkv_NC, view);
    const doutAt = (view.query * sizes.heads + view.head) * sizes.width;
    const dProbabilities = probabilities.map((_, j) => dotAt(sizes.width, dout, doutAt, qkv_NC, valueAt(sizes, view, j)));
    const delta = probabilities.reduce((sum, probability, j) => sum + probability * dProbabilities[j], 0);
    probabilities.forEach((probability, j) => {
      const dScore = probability * (dProbabilities[j] - delta) * scale;
      for (let d = 0; d < sizes.width; d++) {
        dqkv_NC[queryAt(sizes, view) + d] += dScore * qkv_NC[keyAt(sizes, view, j) + d];
        dqkv_NC[keyAt(sizes, view, j) + d] += dScore * qkv_NC[queryAt(sizes, view) + d];
        dqkv_NC[valueAt(sizes, view, j) + d] += probability * dout[doutAt + d];
      }
    });
  });
  return dqkv_NC;
}

function forEachQuery(sizes: AttentionSizes, visit: (view: HeadView) => void): void {
  for (let s = 0; s + 1 < sizes.cuSeqlens_S1.length; s++) {
    const first = sizes.cuSeqlens_S1[s];
    for (let query = first; query < sizes.cuSeqlens_S1[s + 1]; query++) {
      for (let head = 0; head < sizes.heads; head++) visit({ first, query, head });
    }
  }
}

function softmaxRow(sizes: AttentionSizes, qkv_NC: ArrayLike<number>, view: HeadView): { probabilities: number[]; logSum: number } {
  const scores = Array.from({ length: view.query - view.first + 1 }, (_, j) =>
    dotAt(sizes.width, qkv_NC, queryAt(sizes, view), qkv_NC, keyAt(sizes, view, j)) / Math.sqrt(sizes.width));
  const largest = Math.max(...scores);
  const logSum = largest + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - largest), 0));
  return { probabilities: scores.map((score) => Math.exp(score - logSum)), logSum };
}

function queryAt(sizes: AttentionSizes, view: HeadView): number {
  return view.query * fusedColumns(sizes) + view.head * sizes.width;
}

function keyAt(sizes: AttentionSizes, view: HeadView, j: number): number {
  const kvHead = Math.floor(view.head / (sizes.heads / sizes.kvHeads));
  return (view.first + j) * fusedColumns(sizes) + (sizes.heads + kvHead) * sizes.width;
}

function valueAt(sizes: AttentionSizes, view: HeadView, j: number): number {
  return keyAt(sizes, view, j) + sizes.kvHeads * sizes.width;
}

function dotAt(width: number, a: ArrayLike<number>, aAt: number, b: ArrayLike<number>, bAt: number): number {
  let sum = 0;
  for (let d = 0; d < width; d++) sum += a[aAt + d] * b[bAt + d];
  return sum;
}
