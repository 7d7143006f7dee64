import { AppError } from '../../common/errors.js';
import { toFloat32, type ModelDirectory } from '../model-directory.js';
import { expectedTensors } from '../parameters.js';
import { rotationFrequencies } from '../rotary.js';
import type { GraphBuilder, Value } from './graph-builder.js';

/** The weights of a model directory as float32 tensors of a graph, each stored once and read only when the file is written. */
export class DecoderWeights {
  private readonly shapes: ReadonlyMap<string, readonly number[]>;

  constructor(private readonly model: ModelDirectory) {
    this.shapes = expectedTensors(model.config);
  }

  /** [V, D] */
  embedding(graph: GraphBuilder): Value {
    return this.asItLies(graph, 'model.embed_tokens.weight');
  }

  /** [V, D]; the embedding itself when the model ties them. */
  head(graph: GraphBuilder): Value {
    return this.model.config.tiedEmbeddings ? this.embedding(graph) : this.asItLies(graph, 'lm_head.weight');
  }

  /** [D], or [K] of a norm inside heads. */
  norm(graph: GraphBuilder, module: string): Value {
    return this.asItLies(graph, `${module}.weight`);
  }

  /** [out] */
  bias(graph: GraphBuilder, module: string): Value {
    return this.asItLies(graph, `${module}.bias`);
  }

  /** [in, out], for MatMul: the transpose of the Hugging Face tensor, so it bears another name. */
  linear(graph: GraphBuilder, module: string): Value {
    const [outSize, inSize] = this.shape(`${module}.weight`);
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
    const { maxPositions, headDim } = this.model.config;
    const half = headDim / 2;
    const frequencies = rotationFrequencies(this.model.config);
    const table = (): Float32Array => Float32Array.from({ length: maxPositions * half }, (_, at) => wave(Math.floor(at / half) * frequencies[at % half]));
    return graph.stored({ name, elementType: 'float32', dims: [maxPositions, half], read: () => Promise.resolve(asBytes(table())) });
  }

  private asItLies(graph: GraphBuilder, name: string): Value {
    return graph.stored({ name, elementType: 'float32', dims: this.shape(name), read: async () => asBytes(await this.floats(name)) });
  }

  private shape(name: string): readonly number[] {
    const shape = this.shapes.get(name);
    if (!shape) throw new OnnxTensorMissing(name);
    return shape;
  }

  private async floats(name: string): Promise<Float32Array> {
    return toFloat32(await this.model.tensor(name));
  }
}

/** A builder's mistake: no model of this configuration has such a tensor. */
class OnnxTensorMissing extends AppError {
  readonly code = 'model_files.onnx_tensor_missing';
  readonly kind = 'bug';
  constructor(name: string) {
    super(`a graph asks for ${name}, which models of this configuration do not have`);
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
