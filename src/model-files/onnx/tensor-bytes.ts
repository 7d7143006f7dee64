import { AppError } from '../../common/errors.js';
import type { StoredTensor } from './graph-builder.js';

const ELEMENT_BYTES = { float32: 4, int64: 8, bool: 1, float64: 8 } as const;

/** What the tensor takes by its shape, bytes. */
export function tensorBytes(tensor: StoredTensor): number {
  return tensor.dims.reduce((product, size) => product * size, ELEMENT_BYTES[tensor.elementType]);
}

/** The tensor's bytes, which are as many as its shape says. */
export async function readTensor(tensor: StoredTensor): Promise<Uint8Array> {
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
