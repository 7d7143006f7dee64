import type { ModelConfig } from '../config.js';
import { toFloat32, type ModelDirectory } from '../model-directory.js';
import type { GraphBuilder, Value } from './graph-builder.js';

/** The weights of a model directory as float32 tensors of a graph, each stored once and read only when the file is written. */
export class DecoderWeights {
  private readonly config: ModelConfig;

  constructor(private readonly model: ModelDirectory) {
    this.config = model.config;
  }

  /** [V, D] */
  embedding(graph: GraphBuilder): Value {
    return this.matrix(graph, 'model.embed_tokens.weight', [this.config.vocabSize, this.config.hiddenSize]);
  }

  /** [V, D]; the embedding itself when the model ties them. */
  head(graph: GraphBuilder): Value {
    if (this.config.tiedEmbeddings) return this.embedding(graph);
    return this.matrix(graph, 'lm_head.weight', [this.config.vocabSize, this.config.hiddenSize]);
  }

  /** [D] */
  norm(graph: GraphBuilder, module: string): Value {
    return this.matrix(graph, `${module}.weight`, [this.config.hiddenSize]);
  }

  /** [in, out], for MatMul: the transpose of the Hugging Face tensor, so it bears another name. */
  linear(graph: GraphBuilder, module: string): Value {
    const [outSize, inSize] = this.linearShape(module.slice(module.lastIndexOf('.') + 1));
    return graph.stored({
      name: `${module}.MatMul.weight`,
      elementType: 'float32',
      dims: [inSize, outSize],
      read: async () => asBytes(transposed(await this.floats(`${module}.weight`), outSize, inSize)),
    });
  }

  /** Cosines and sines of every position, [maxPositions, K / 2] each, computed in float64: angles of late positions need more digits than float32 has. */
  rotations(graph: GraphBuilder): { readonly cos: Value; readonly sin: Value } {
    return { cos: this.rotation(graph, 'rope.cos', Math.cos), sin: this.rotation(graph, 'rope.sin', Math.sin) };
  }

  private rotation(graph: GraphBuilder, name: string, wave: (angle: number) => number): Value {
    const { maxPositions, headDim, ropeTheta } = this.config;
    const half = headDim / 2;
    const table = (): Float32Array =>
      Float32Array.from({ length: maxPositions * half }, (_, at) => wave(Math.floor(at / half) * ropeTheta ** (-(at % half) / half)));
    return graph.stored({ name, elementType: 'float32', dims: [maxPositions, half], read: () => Promise.resolve(asBytes(table())) });
  }

  private matrix(graph: GraphBuilder, name: string, dims: readonly number[]): Value {
    return graph.stored({ name, elementType: 'float32', dims, read: async () => asBytes(await this.floats(name)) });
  }

  private async floats(name: string): Promise<Float32Array> {
    return toFloat32(await this.model.tensor(name));
  }

  private linearShape(projection: string): readonly [outSize: number, inSize: number] {
    const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = this.config;
    switch (projection) {
      case 'q_proj':
        return [heads * headDim, hiddenSize];
      case 'k_proj':
      case 'v_proj':
        return [kvHeads * headDim, hiddenSize];
      case 'o_proj':
        return [hiddenSize, heads * headDim];
      case 'down_proj':
        return [hiddenSize, intermediateSize];
      default:
        return [intermediateSize, hiddenSize];
    }
  }
}

function asBytes(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** [rows, columns] to [columns, rows], in square tiles: row by row, each write would miss the cache. */
function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const tile = 32;
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row += tile) {
    for (let column = 0; column < columns; column += tile) {
      for (let r = row; r < Math.min(row + tile, rows); r++) {
        for (let c = column; c < Math.min(column + tile, columns); c++) result[c * rows + r] = values[r * columns + c];
      }
    }
  }
  return result;
}
