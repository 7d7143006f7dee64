import type { ModelConfig } from '../../model-files/config.js';
import { bf16FromFloat32 } from '../../model-files/floats.js';
import { ModelDirectory, toFloat32, writeModelDirectory } from '../../model-files/model-directory.js';
import { expectedTensors } from '../../model-files/parameters.js';
import type { NamedTensor } from '../../model-files/safetensors.js';

/** Reads a Hugging Face directory into float64, under its own tensor names. */
export async function readWeights(modelDir: string): Promise<{ readonly config: ModelConfig; readonly weights: Map<string, Float64Array> }> {
  const directory = await ModelDirectory.open(modelDir);
  try {
    const weights = new Map<string, Float64Array>();
    for (const name of directory.names) weights.set(name, Float64Array.from(toFloat32(await directory.tensor(name))));
    return { config: directory.config, weights };
  } finally {
    await directory.close();
  }
}

/** Writes config and weights, each value rounded to bf16. */
export async function writeWeights(dir: string, config: ModelConfig, weights: ReadonlyMap<string, Float64Array>): Promise<void> {
  const tensors = [...expectedTensors(config)].map(([name, shape]): NamedTensor => {
    const bits = bf16FromFloat32(Float32Array.from(weights.get(name) ?? []));
    return { name, dtype: 'BF16', shape, bytes: new Uint8Array(bits.buffer) };
  });
  await writeModelDirectory(dir, { config, tensors });
}
