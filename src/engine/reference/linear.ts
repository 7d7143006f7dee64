import { Matrix, type Tape } from './tape.js';

/** out_NO = x_NI . weight_OI^T + bias_O, where there is a bias. */
export function linear(tape: Tape, x: Matrix, weight: Matrix, bias?: Matrix): Matrix {
  const out = new Matrix(x.rows, weight.rows);
  const inner = x.columns;
  for (let n = 0; n < x.rows; n++) {
    for (let o = 0; o < weight.rows; o++) {
      let sum = bias?.values[o] ?? 0;
      for (let i = 0; i < inner; i++) sum += x.values[n * inner + i] * weight.values[o * inner + i];
      out.values[n * out.columns + o] = sum;
    }
  }
  tape.record(() => {
    pushBackLinear(out, x, weight);
    if (bias) out.gradient.forEach((g, at) => (bias.gradient[at % out.columns] += g));
  });
  return out;
}

function pushBackLinear(out: Matrix, x: Matrix, weight: Matrix): void {
  const inner = x.columns;
  for (let n = 0; n < x.rows; n++) {
    for (let o = 0; o < weight.rows; o++) {
      const g = out.gradient[n * out.columns + o];
      if (g === 0) continue;
      for (let i = 0; i < inner; i++) {
        x.gradient[n * inner + i] += g * weight.values[o * inner + i];
        weight.gradient[o * inner + i] += g * x.values[n * inner + i];
      }
    }
  }
}

/** out_ND = table_VD[indices_N]: the embedding, and the choice of rows that carry loss. */
export function selectRows(tape: Tape, table: Matrix, indices_N: Int32Array): Matrix {
  const width = table.columns;
  const out = new Matrix(indices_N.length, width);
  indices_N.forEach((index, n) => out.values.set(table.values.subarray(index * width, (index + 1) * width), n * width));
  tape.record(() => {
    indices_N.forEach((index, n) => {
      for (let d = 0; d < width; d++) table.gradient[index * width + d] += out.gradient[n * width + d];
    });
  });
  return out;
}

/** Element by element. */
export function add(tape: Tape, a: Matrix, b: Matrix): Matrix {
  const out = new Matrix(a.rows, a.columns);
  for (let i = 0; i < out.values.length; i++) out.values[i] = a.values[i] + b.values[i];
  tape.record(() => {
    for (let i = 0; i < out.gradient.length; i++) {
      a.gradient[i] += out.gradient[i];
      b.gradient[i] += out.gradient[i];
    }
  });
  return out;
}
