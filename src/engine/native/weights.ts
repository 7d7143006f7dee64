import { toBf16Bits, widenInto } from '../../model-files/floats.js';
import { type ModelDirectory, writeModelDirectory } from '../../model-files/model-directory.js';
import type { SafeDType } from '../../model-files/safetensors.js';
import type { ParameterSet, StateWindow } from './parameters.js';

/** Bytes of a tensor that lie in JavaScript at one time: an embedding as a whole could take more than a training step. */
const PIECE_BYTES = 4 << 20;

/** A tensor's kind and its bytes, piece by piece. */
export interface Pieces {
  readonly dtype: SafeDType;
  readonly pieces: AsyncIterable<Uint8Array>;
}

/** Fills one state of every parameter from stored tensors. */
export async function fillState(windows: readonly StateWindow[], open: (name: string, buffer: Uint8Array) => Pieces): Promise<void> {
  const buffer = new Uint8Array(PIECE_BYTES);
  const values = new Float32Array(PIECE_BYTES / 2);
  for (const { part: { name }, fill } of windows) {
    let at = 0;
    const { dtype, pieces } = open(name, buffer);
    for await (const bytes of pieces) {
      const widened = widenInto(values, { name, dtype, bytes });
      fill(widened, at);
      at += widened.length;
    }
  }
}

/** Fills the master weights from a model directory and rounds the weights that compute. */
export async function readWeights(directory: ModelDirectory, parameters: ParameterSet): Promise<void> {
  await fillState(parameters.windows('master'), (name, buffer) => directory.pieces(name, buffer));
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
