import { Matrix, type Tape } from './tape.js';

/** out = silu(gate) * up, silu(x) = x sigmoid(x) (Shazeer 2020). All three [N, F]. */
export function swiglu(tape: Tape, gate: Matrix, up: Matrix): Matrix {
  const out = new Matrix(gate.rows, gate.columns);
  for (let i = 0; i < out.values.length; i++) out.values[i] = gate.values[i] * sigmoid(gate.values[i]) * up.values[i];
  tape.record(() => {
    for (let i = 0; i < out.gradient.length; i++) {
      const s = sigmoid(gate.values[i]);
      up.gradient[i] += out.gradient[i] * gate.values[i] * s;
      gate.gradient[i] += out.gradient[i] * up.values[i] * s * (1 + gate.values[i] * (1 - s));
    }
  });
  return out;
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}
