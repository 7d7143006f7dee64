import { Matrix, type Tape } from './tape.js';

/**
 * out_nd = x_nd / sqrt(mean_d(x_nd^2) + eps) * weight_d (Zhang & Sennrich 2019) for each run of as many columns as the weight has: a whole row, or each head of
 * one. With s the reciprocal root and g_d = dout_d weight_d: dx_d = s (g_d - x_d s^2 mean(g x)).
 */
export function rmsNorm(tape: Tape, x: Matrix, scale: { readonly weight: Matrix; readonly eps: number }): Matrix {
  const { weight, eps } = scale;
  const width = weight.columns;
  const runs = x.values.length / width;
  const out = new Matrix(x.rows, x.columns);
  const reciprocalRoot_N = new Float64Array(runs);
  for (let n = 0; n < runs; n++) {
    const row = x.values.subarray(n * width, (n + 1) * width);
    const meanSquare = row.reduce((sum, value) => sum + value * value, 0) / width;
    reciprocalRoot_N[n] = 1 / Math.sqrt(meanSquare + eps);
    for (let d = 0; d < width; d++) out.values[n * width + d] = row[d] * reciprocalRoot_N[n] * weight.values[d];
  }
  tape.record(() => {
    for (let n = 0; n < runs; n++) pushBackRun({ x, weight, out, at: n * width, s: reciprocalRoot_N[n] });
  });
  return out;
}

function pushBackRun({ x, weight, out, at, s }: { x: Matrix; weight: Matrix; out: Matrix; at: number; s: number }): void {
  const width = weight.columns;
  let dot = 0;
  for (let d = 0; d < width; d++) dot += out.gradient[at + d] * weight.values[d] * x.values[at + d];
  for (let d = 0; d < width; d++) {
    const g = out.gradient[at + d];
    weight.gradient[d] += g * x.values[at + d] * s;
    x.gradient[at + d] += s * (g * weight.values[d] - (x.values[at + d] * s * s * dot) / width);
  }
}
