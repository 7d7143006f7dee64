import type { ModelConfig } from '../../model-files/config.js';
import { ModelDirectory, toBf16Bits, toFloat32, writeModelDirectory } from '../../model-files/model-directory.js';
import type { NamedTensor } from '../../model-files/safetensors.js';
import { parameterShapes } from './parameters.js';

/** Reads a Hugging Face directory into float64, under its own tensor names. */
export async function readWeights(modelDir: string): Promise<{ readonly config: ModelConfig; readonly weights: Map<string, Float64Array> }> {
  const directory = await ModelDirectory.open(modelDir);
  try {
    const weights = new Map<string, Float64Array>();
    for (const name of parameterShapes(directory.config).keys()) weights.set(name, Float64Array.from(toFloat32(await directory.tensor(name))));
    return { config: directory.config, weights };
  } finally {
    await directory.close();
  }
}

/** Writes config and weights, each value rounded once to bf16. */
export async function writeWeights(dir: string, config: ModelConfig, weights: ReadonlyMap<string, Float64Array>): Promise<void> {
  const tensors = [...parameterShapes(config)].map(([name, shape]): NamedTensor => {
    const wide: NamedTensor = { name, dtype: 'F32', shape, bytes: new Uint8Array(Float32Array.from(weights.get(name) ?? []).buffer) };
    return { name, dtype: 'BF16', shape, bytes: new Uint8Array(toBf16Bits(wide).buffer) };
  });
  await writeModelDirectory(dir, { config, tensors });
}
