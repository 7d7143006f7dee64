import type { ModelConfig } from '../../model-files/config.js';
import { expectedTensors } from '../../model-files/parameters.js';
import { Matrix } from './tape.js';

/** Copies weights into matrices with empty gradients; a norm's weight or a bias is one row. @throws Error when one is absent or has another size. */
export function toMatrices(config: ModelConfig, weights: ReadonlyMap<string, Float64Array>): Map<string, Matrix> {
  const matrices = new Map<string, Matrix>();
  for (const [name, shape] of expectedTensors(config)) {
    const rows = shape.length === 1 ? 1 : shape[0];
    const columns = shape[shape.length - 1];
    const values = weights.get(name);
    if (values?.length !== rows * columns) throw new Error(`${name} should have ${rows * columns} values and has ${values?.length ?? 'none'}`);
    matrices.set(name, new Matrix(rows, columns, values.slice()));
  }
  return matrices;
}
