import { integers, normals } from './check.js';
import { roundedToBf16 } from './bf16.js';

/** A language-model head in float64: R rows, V ids, D columns; `hidden_RD` and `weight_VD` hold bf16 values. */
export interface HeadProblem {
  readonly R: number;
  readonly V: number;
  readonly D: number;
  readonly hidden_RD: Float64Array;
  readonly weight_VD: Float64Array;
  readonly labels_R: Int32Array;
}

/** Repeatable; logits have a standard deviation of about `spread`. */
export function headProblem(sizes: { readonly R: number; readonly V: number; readonly D: number; readonly seed: number; readonly spread?: number }): HeadProblem {
  const { R, V, D, seed, spread = 2 } = sizes;
  return {
    R, V, D,
    hidden_RD: roundedToBf16(normals(R * D, seed)),
    weight_VD: roundedToBf16(normals(V * D, seed + 1, spread / Math.sqrt(D))),
    labels_R: integers(R, seed + 2, V),
  };
}

/** Row `row` of hidden . weight^T. */
export function logitsRow({ V, D, hidden_RD, weight_VD }: HeadProblem, row: number): Float64Array {
  const logits_V = new Float64Array(V);
  for (let v = 0; v < V; v++) {
    for (let d = 0; d < D; d++) logits_V[v] += hidden_RD[row * D + d] * weight_VD[v * D + d];
  }
  return logits_V;
}

/** log softmax(logits / temperature). */
export function logSoftmax(logits_V: ArrayLike<number>, temperature = 1): Float64Array {
  const scaled = Float64Array.from(logits_V, (z) => z / temperature);
  const largest = scaled.reduce((a, b) => Math.max(a, b), -Infinity);
  const logSum = largest + Math.log(scaled.reduce((sum, z) => sum + Math.exp(z - largest), 0));
  return scaled.map((z) => z - logSum);
}

/** Ids from most to least probable, among equals the smaller first. */
export function ranking(values_V: ArrayLike<number>): number[] {
  return Array.from({ length: values_V.length }, (_, id) => id).sort((a, b) => values_V[b] - values_V[a] || a - b);
}
