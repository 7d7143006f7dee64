import type { StoredTensor } from './graph-builder.js';
import { tensorBytes } from './tensor-bytes.js';

/** How a model is divided into files. Bytes. */
export interface OnnxLimits {
  /** A model of more is not one file: protobuf messages end at 2 GiB. */
  readonly singleFile: number;
  /** Of a file of tensors; one that is larger alone has a file of its own. Browsers read a file into a buffer of at most 2 GiB. */
  readonly dataFile: number;
  /** Smaller tensors stay in the graph's file, where onnxruntime finds those from which it infers shapes. */
  readonly apart: number;
}

export const ONNX_LIMITS: OnnxLimits = { singleFile: 2 ** 31 - 1, dataFile: 2_000_000_000, apart: 64 * 1024 };

/** Where a tensor's bytes are: `ExternalData.md` of the ONNX project, release 1.23.2. */
export interface TensorPlace {
  /** A name in the directory of the graph's file. */
  readonly location: string;
  readonly offset: number;
}

/** A file that holds bytes of tensors only, at ascending offsets with zeros between them. */
export interface DataFile {
  readonly location: string;
  readonly tensors: readonly { readonly tensor: StoredTensor; readonly offset: number }[];
}

/** Offsets at which every system can map a part of a file into memory. */
const ALIGNMENT = 64 * 1024;

/** The name of a data file, by which transformers.js looks for it: `model.onnx_data`, `model.onnx_data_1`, … */
export function dataFileName(graphFile: string, index: number): string {
  return `${graphFile}_data${index === 0 ? '' : `_${index}`}`;
}

/** The tensors that are to lie apart from the graph, divided into files in their order. */
export function divideTensors(tensors: readonly StoredTensor[], graphFile: string, limits: OnnxLimits): DataFile[] {
  const files: { readonly location: string; readonly tensors: { readonly tensor: StoredTensor; readonly offset: number }[] }[] = [];
  let end = Infinity;
  for (const tensor of tensors.filter((candidate) => tensorBytes(candidate) >= limits.apart)) {
    let offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    if (offset + tensorBytes(tensor) > limits.dataFile) {
      files.push({ location: dataFileName(graphFile, files.length), tensors: [] });
      offset = 0;
    }
    files[files.length - 1].tensors.push({ tensor, offset });
    end = offset + tensorBytes(tensor);
  }
  return files;
}
