import { readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import protobuf from 'protobufjs';
import { writeTogetherAtomic, type ChunkedFile } from '../atomic.js';
import { dataFileName, divideTensors, ONNX_LIMITS, type DataFile, type OnnxLimits, type TensorPlace } from './external-data.js';
import type { OnnxGraph, StoredTensor } from './graph-builder.js';
import { DATA_LOCATIONS, ELEMENT_TYPES, GraphProto, IR_VERSION, ModelProto, OPSET_VERSION, TensorProto } from './onnx-schema.js';
import { readTensor, tensorBytes } from './tensor-bytes.js';

const LENGTH_DELIMITED = 2;

/**
 * Writes the graph, whole or not at all: as one ONNX file where that holds it, otherwise with its larger tensors in files beside it, `<path>_data`, `<path>_data_1` and so
 * on, to which the graph refers. Tensors are read and written one by one, so that memory holds the largest of them, not all. Such files of a model that was there before go.
 * @returns how many files there are beside the graph's.
 */
export async function writeOnnx(path: string, graph: OnnxGraph, limits: OnnxLimits = ONNX_LIMITS): Promise<number> {
  const parts = encodeGraph(graph, new Map());
  const dataFiles = parts.bytes > limits.singleFile ? divideTensors(graph.tensors, basename(path), limits) : [];
  const referring = dataFiles.length === 0 ? parts : encodeGraph(graph, placesOf(dataFiles));
  await writeTogetherAtomic(dataFiles.map((file) => ({ path: join(dirname(path), file.location), chunks: dataChunks(file) })), { path, chunks: graphChunks(referring) });
  await removeOtherData(path, dataFiles.length);
  return dataFiles.length;
}

/** A GraphProto in parts: its fields but the initializers, then each of these. */
interface EncodedGraph {
  readonly bytes: number;
  readonly body: Uint8Array;
  /** `head` is everything of an initializer that stands before its raw bytes; `tensor` is absent where these lie elsewhere. */
  readonly initializers: readonly { readonly head: Uint8Array; readonly tensor?: StoredTensor }[];
}

function encodeGraph(graph: OnnxGraph, places: ReadonlyMap<StoredTensor, TensorPlace>): EncodedGraph {
  const body = GraphProto.encode({ name: graph.name, node: graph.nodes, input: graph.inputs, output: graph.outputs }).finish();
  const initializers = graph.tensors.map((tensor) => {
    const place = places.get(tensor);
    return place ? { head: referringHead(tensor, place) } : { head: embeddingHead(tensor), tensor };
  });
  return { bytes: initializers.reduce((sum, { head, tensor }) => sum + head.length + (tensor ? tensorBytes(tensor) : 0), body.length), body, initializers };
}

async function* graphChunks({ bytes, body, initializers }: EncodedGraph): ChunkedFile['chunks'] {
  const model = ModelProto.encode({ irVersion: IR_VERSION, opsetImport: [{ domain: '', version: OPSET_VERSION }], producerName: 'limbeck' }).finish();
  yield Buffer.concat([model, fieldPrefix(ModelProto.fields.graph, bytes), body]);
  for (const { head, tensor } of initializers) {
    yield head;
    if (tensor) yield await readTensor(tensor);
  }
}

async function* dataChunks({ tensors }: DataFile): ChunkedFile['chunks'] {
  let at = 0;
  for (const { tensor, offset } of tensors) {
    if (offset > at) yield new Uint8Array(offset - at);
    yield await readTensor(tensor);
    at = offset + tensorBytes(tensor);
  }
}

function placesOf(files: readonly DataFile[]): Map<StoredTensor, TensorPlace> {
  return new Map(files.flatMap(({ location, tensors }) => tensors.map(({ tensor, offset }) => [tensor, { location, offset }] as const)));
}

function embeddingHead(tensor: StoredTensor): Uint8Array {
  const head = TensorProto.encode(description(tensor)).finish();
  const raw = fieldPrefix(TensorProto.fields.rawData, tensorBytes(tensor));
  return Buffer.concat([fieldPrefix(GraphProto.fields.initializer, head.length + raw.length + tensorBytes(tensor)), head, raw]);
}

function referringHead(tensor: StoredTensor, { location, offset }: TensorPlace): Uint8Array {
  const externalData = Object.entries({ location, offset, length: tensorBytes(tensor) }).map(([key, value]) => ({ key, value: String(value) }));
  const head = TensorProto.encode({ ...description(tensor), externalData, dataLocation: DATA_LOCATIONS.external }).finish();
  return Buffer.concat([fieldPrefix(GraphProto.fields.initializer, head.length), head]);
}

function description(tensor: StoredTensor): { name: string; dims: readonly number[]; dataType: number } {
  return { name: tensor.name, dims: tensor.dims, dataType: ELEMENT_TYPES[tensor.elementType] };
}

function fieldPrefix(field: protobuf.Field, bytes: number): Uint8Array {
  return protobuf.Writer.create().uint32((field.id << 3) | LENGTH_DELIMITED).uint32(bytes).finish();
}

async function removeOtherData(path: string, kept: number): Promise<void> {
  const first = dataFileName(basename(path), 0);
  const isData = (name: string): boolean => name === first || (name.startsWith(`${first}_`) && /^\d+$/.test(name.slice(first.length + 1)));
  const ours = new Set(Array.from({ length: kept }, (_, index) => dataFileName(basename(path), index)));
  for (const name of await readdir(dirname(path))) if (isData(name) && !ours.has(name)) await rm(join(dirname(path), name));
}
