import { Matrix, type Tape } from './tape.js';

/** How head vectors turn: `headDim` is K, `theta` the base, `positions_N` counted from the start of each sequence. */
export interface Rotation {
  readonly headDim: number;
  readonly theta: number;
  readonly positions_N: Int32Array;
}

/**
 * Rotary embedding in the half-split form: each head turns the pair (i, i + K/2) by position x theta^(-2i/K) (Su et al. 2021; pairing of the
 * Hugging Face Llama).
 */
export function rope(tape: Tape, x: Matrix, rotation: Rotation): Matrix {
  const out = new Matrix(x.rows, x.columns);
  turn(x.values, out.values, { rotation, columns: x.columns, sense: 1 });
  tape.record(() => turn(out.gradient, x.gradient, { rotation, columns: x.columns, sense: -1 }));
  return out;
}

// Adds the turned source to the target; the transpose of a rotation is the turn in the other sense.
function turn(source: Float64Array, target: Float64Array, how: { rotation: Rotation; columns: number; sense: 1 | -1 }): void {
  const { headDim, theta, positions_N } = how.rotation;
  const half = headDim / 2;
  for (let n = 0; n < positions_N.length; n++) {
    for (let column = 0; column < how.columns; column += headDim) {
      for (let i = 0; i < half; i++) {
        const angle = how.sense * positions_N[n] * theta ** ((-2 * i) / headDim);
        const first = n * how.columns + column + i;
        const second = first + half;
        target[first] += source[first] * Math.cos(angle) - source[second] * Math.sin(angle);
        target[second] += source[second] * Math.cos(angle) + source[first] * Math.sin(angle);
      }
    }
  }
}
