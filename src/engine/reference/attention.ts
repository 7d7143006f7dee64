import { Matrix, type Tape } from './tape.js';

/** Projections after RoPE: q [N, H K], k and v [N, Hkv K]; consecutive groups of H / Hkv query heads share one key head. */
export interface AttentionInputs {
  readonly q: Matrix;
  readonly k: Matrix;
  readonly v: Matrix;
  readonly heads: number;
  readonly kvHeads: number;
  readonly cuSeqlens_S1: Int32Array;
}

/** Causal softmax attention inside each packed sequence, scale 1/sqrt(K). @returns [N, H K]. */
export function attention(tape: Tape, inputs: AttentionInputs): Matrix {
  const { q, heads, cuSeqlens_S1 } = inputs;
  const out = new Matrix(q.rows, q.columns);
  const queries: Query[] = [];
  for (let s = 1; s < cuSeqlens_S1.length; s++) {
    for (let row = cuSeqlens_S1[s - 1]; row < cuSeqlens_S1[s]; row++) {
      for (let head = 0; head < heads; head++) queries.push(attend(inputs, out, { row, first: cuSeqlens_S1[s - 1], head }));
    }
  }
  tape.record(() => {
    for (const query of queries) pushBackQuery(inputs, out, query);
  });
  return out;
}

/** One query head at one row; it reads rows `first` to `row`, with these probabilities. */
interface Query {
  readonly row: number;
  readonly first: number;
  readonly head: number;
  readonly probabilities: Float64Array;
}

function attend(inputs: AttentionInputs, out: Matrix, at: Omit<Query, 'probabilities'>): Query {
  const { q, k, v } = inputs;
  const { width, queryAt, keyAt } = offsets(inputs, at);
  const scores = new Float64Array(at.row - at.first + 1);
  for (let t = 0; t < scores.length; t++) {
    for (let i = 0; i < width; i++) scores[t] += q.values[queryAt + i] * k.values[keyAt(t) + i];
    scores[t] /= Math.sqrt(width);
  }
  const largest = scores.reduce((a, b) => Math.max(a, b));
  const probabilities = scores.map((score) => Math.exp(score - largest));
  const total = probabilities.reduce((a, b) => a + b);
  for (let t = 0; t < probabilities.length; t++) {
    probabilities[t] /= total;
    for (let i = 0; i < width; i++) out.values[queryAt + i] += probabilities[t] * v.values[keyAt(t) + i];
  }
  return { ...at, probabilities };
}

// dp_t = dout . v_t; dscore_t = p_t (dp_t - sum_u p_u dp_u).
function pushBackQuery(inputs: AttentionInputs, out: Matrix, query: Query): void {
  const { q, k, v } = inputs;
  const { width, queryAt, keyAt } = offsets(inputs, query);
  const p = query.probabilities;
  const dp = p.map((_, t) => {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += out.gradient[queryAt + i] * v.values[keyAt(t) + i];
    return sum;
  });
  const mean = p.reduce((sum, probability, t) => sum + probability * dp[t], 0);
  for (let t = 0; t < p.length; t++) {
    const dscore = (p[t] * (dp[t] - mean)) / Math.sqrt(width);
    for (let i = 0; i < width; i++) {
      q.gradient[queryAt + i] += dscore * k.values[keyAt(t) + i];
      k.gradient[keyAt(t) + i] += dscore * q.values[queryAt + i];
      v.gradient[keyAt(t) + i] += p[t] * out.gradient[queryAt + i];
    }
  }
}

function offsets(inputs: AttentionInputs, at: Omit<Query, 'probabilities'>): { width: number; queryAt: number; keyAt: (t: number) => number } {
  const { q, k, heads, kvHeads } = inputs;
  const width = q.columns / heads;
  const kvHead = Math.floor((at.head * kvHeads) / heads);
  return {
    width,
    queryAt: at.row * q.columns + at.head * width,
    keyAt: (t) => (at.first + t) * k.columns + kvHead * width,
  };
}
