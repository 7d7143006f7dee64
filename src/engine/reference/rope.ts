import { Matrix, type Tape } from './tape.js';

/** How head vectors turn: `frequencies` are the K/2 of `rotationFrequencies`, `positions_N` counted from the start of each sequence. */
export interface Rotation {
  readonly frequencies: Float64Array;
  readonly positions_N: Int32Array;
}

/** Rotary embedding in the half-split form: each head turns the pair (i, i + K/2) by position x frequency i (Su et al. 2021; pairing of Hugging Face transformers). */
export function rope(tape: Tape, x: Matrix, rotation: Rotation): Matrix {
  const out = new Matrix(x.rows, x.columns);
  turn(x.values, out.values, { rotation, columns: x.columns, sense: 1 });
  tape.record(() => turn(out.gradient, x.gradient, { rotation, columns: x.columns, sense: -1 }));
  return out;
}

// Adds the turned source to the target; the transpose of a rotation is the turn in the other sense.
function turn(source: Float64Array, target: Float64Array, how: { rotation: Rotation; columns: number; sense: 1 | -1 }): void {
  const { frequencies, positions_N } = how.rotation;
  const half = frequencies.length;
  for (let n = 0; n < positions_N.length; n++) {
    for (let column = 0; column < how.columns; column += 2 * half) {
      for (let i = 0; i < half; i++) {
        const angle = how.sense * positions_N[n] * frequencies[i];
        const first = n * how.columns + column + i;
        const second = first + half;
        target[first] += source[first] * Math.cos(angle) - source[second] * Math.sin(angle);
        target[second] += source[second] * Math.cos(angle) + source[first] * Math.sin(angle);
      }
    }
  }
}
