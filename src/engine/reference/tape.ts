/** A row-major float64 matrix and the gradient of the loss with respect to it, equally shaped and zero at first. */
export class Matrix {
  readonly values: Float64Array;
  readonly gradient: Float64Array;

  constructor(readonly rows: number, readonly columns: number, values?: Float64Array) {
    this.values = values ?? new Float64Array(rows * columns);
    this.gradient = new Float64Array(rows * columns);
  }
}

/**
 * Records how to push gradients back. Each operation of this folder computes its result at once and records one step that reads the result's
 * gradient and **adds** to those of its inputs; `backward` runs the steps last to first.
 */
export class Tape {
  readonly #steps: (() => void)[] = [];

  record(pushBack: () => void): void {
    this.#steps.push(pushBack);
  }

  /** Expects the gradient of the last result to be filled in. A tape runs once. */
  backward(): void {
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) step();
  }
}
