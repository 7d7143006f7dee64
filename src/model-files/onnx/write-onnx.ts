import protobuf from 'protobufjs';
import { AppError } from '../../common/errors.js';
import { writeChunksAtomic } from '../atomic.js';
import type { OnnxGraph, StoredTensor } from './graph-builder.js';
import { ELEMENT_TYPES, GraphProto, IR_VERSION, ModelProto, OPSET_VERSION, TensorProto } from './onnx-schema.js';

/** Protobuf messages, and so single-file ONNX models, end at 2 GiB. */
const MAX_MODEL_BYTES = 2 ** 31 - 1;
const ELEMENT_BYTES = { float32: 4, int64: 8, bool: 1, float64: 8 } as const;
const LENGTH_DELIMITED = 2;

/** The model does not fit in one ONNX file; says its size and the limit. */
export class OnnxTooLarge extends AppError {
  readonly code = 'model_files.onnx_too_large';
  readonly kind = 'invalid';
  constructor(path: string, bytes: number) {
    super(`${path} would take ${bytes} bytes in float32; one ONNX file holds at most ${MAX_MODEL_BYTES}. Export safetensors only`);
  }
}

/**
 * Writes the graph as one ONNX file, whole or not at all. Tensors are read and written one by one, so that memory holds the largest of them, not all.
 * @throws OnnxTooLarge before anything is written.
 */
export async function writeOnnx(path: string, graph: OnnxGraph): Promise<void> {
  const heads = graph.tensors.map((tensor) => tensorHead(tensor));
  const body = GraphProto.encode({ name: graph.name, node: graph.nodes, input: graph.inputs, output: graph.outputs }).finish();
  const graphBytes = graph.tensors.reduce((sum, tensor, index) => sum + heads[index].length + tensorBytes(tensor), body.length);
  if (graphBytes > MAX_MODEL_BYTES) throw new OnnxTooLarge(path, graphBytes);
  const model = ModelProto.encode({ irVersion: IR_VERSION, opsetImport: [{ domain: '', version: OPSET_VERSION }], producerName: 'limbeck' }).finish();
  await writeChunksAtomic(path, chunks());

  async function* chunks(): AsyncIterable<Uint8Array> {
    yield Buffer.concat([model, fieldPrefix(ModelProto.fields.graph, graphBytes), body]);
    for (const [index, tensor] of graph.tensors.entries()) {
      yield heads[index];
      yield await bytesOf(tensor);
    }
  }
}

/** Everything of an initializer that stands before its raw bytes, the enclosing field of GraphProto included. */
function tensorHead(tensor: StoredTensor): Uint8Array {
  const head = TensorProto.encode({ name: tensor.name, dims: tensor.dims, dataType: ELEMENT_TYPES[tensor.elementType] }).finish();
  const raw = fieldPrefix(TensorProto.fields.rawData, tensorBytes(tensor));
  const field = fieldPrefix(GraphProto.fields.initializer, head.length + raw.length + tensorBytes(tensor));
  return Buffer.concat([field, head, raw]);
}

function fieldPrefix(field: protobuf.Field, bytes: number): Uint8Array {
  return protobuf.Writer.create().uint32((field.id << 3) | LENGTH_DELIMITED).uint32(bytes).finish();
}

function tensorBytes(tensor: StoredTensor): number {
  return tensor.dims.reduce((product, size) => product * size, ELEMENT_BYTES[tensor.elementType]);
}

async function bytesOf(tensor: StoredTensor): Promise<Uint8Array> {
  const bytes = await tensor.read();
  if (bytes.length === tensorBytes(tensor)) return bytes;
  throw new OnnxTensorMismatch(tensor.name, bytes.length, tensorBytes(tensor));
}

/** A builder's mistake: the bytes of a tensor are not those of its shape. */
class OnnxTensorMismatch extends AppError {
  readonly code = 'model_files.onnx_tensor_mismatch';
  readonly kind = 'bug';
  constructor(name: string, got: number, want: number) {
    super(`tensor ${name} has ${got} bytes where its shape asks for ${want}`);
  }
}
