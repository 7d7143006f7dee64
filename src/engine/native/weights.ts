import type { Kernels } from '../../../kernels/binding/kernels.js';
import { ModelDirectory, toFloat32, writeModelDirectory } from '../../model-files/model-directory.js';
import type { NamedTensor } from '../../model-files/safetensors.js';
import { elements, type ParameterSet } from './parameters.js';

/** Fills the master weights from a model directory and rounds the weights that compute. */
export async function readWeights(kernels: Kernels, directory: ModelDirectory, parameters: ParameterSet): Promise<void> {
  for (const { part, tensor } of parameters.windows('master')) kernels.write(tensor, toFloat32(await directory.tensor(part.name)));
  parameters.roundWeights();
}

/** Writes the masters, rounded to bf16 once, as a Hugging Face model directory without a tokenizer. */
export async function writeWeights(kernels: Kernels, parameters: ParameterSet, dir: string): Promise<void> {
  const tensors: NamedTensor[] = [];
  for (const { part, tensor } of parameters.windows('master')) {
    const rounded = kernels.alloc('bf16', part.shape);
    const bits = new Uint16Array(elements(part.shape));
    kernels.convert(tensor, rounded);
    kernels.read(rounded, bits);
    kernels.free(rounded);
    tensors.push({ name: part.name, dtype: 'BF16', shape: part.shape, bytes: new Uint8Array(bits.buffer) });
  }
  await writeModelDirectory(dir, { config: parameters.config, tensors });
}
