import { toBf16Bits, toFloat32 } from '../../model-files/floats.js';
import { type ModelDirectory, writeModelDirectory } from '../../model-files/model-directory.js';
import type { ParameterSet } from './parameters.js';

/** Fills the master weights from a model directory and rounds the weights that compute. */
export async function readWeights(directory: ModelDirectory, parameters: ParameterSet): Promise<void> {
  for (const { part, fill } of parameters.windows('master')) fill(toFloat32(await directory.tensor(part.name)));
  parameters.roundWeights();
}

/** Writes the masters, rounded to bf16 once, as a Hugging Face model directory without a tokenizer. */
export async function writeWeights(parameters: ParameterSet, dir: string): Promise<void> {
  const tensors = parameters.windows('master').map(({ part: { name, shape }, copy }) => ({
    name,
    dtype: 'BF16' as const,
    shape,
    read: () => {
      const bits = toBf16Bits({ name, dtype: 'F32', shape, bytes: new Uint8Array(copy().buffer) });
      return Promise.resolve(new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength));
    },
  }));
  await writeModelDirectory(dir, { config: parameters.config, tensors });
}
