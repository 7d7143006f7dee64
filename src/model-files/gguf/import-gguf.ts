import { basename } from 'node:path';
import { refuseTaken } from '../atomic.js';
import type { ModelConfig } from '../config.js';
import { modelCard } from '../model-card.js';
import { writeModelDirectory } from '../model-directory.js';
import { reportReads, type OnProgress } from '../progress.js';
import { decoderConfig } from './gguf-config.js';
import { GgufFile } from './gguf-file.js';
import { GgufMetadata } from './gguf-metadata.js';
import { decoderTensors } from './gguf-tensors.js';
import { tokenizerFiles } from './gguf-tokenizer.js';

/** Where an import goes and what its model card says. */
export interface ImportOptions {
  /** Must not exist, or be empty. */
  readonly outDir: string;
  /** The model the file was made from, as its publisher names it. */
  readonly baseModel?: string;
  /** Where the file came from, one sentence. */
  readonly origin?: string;
  /** Told once a tensor. */
  readonly onProgress?: OnProgress;
}

/**
 * Writes a GGUF file of architecture llama, qwen2 or qwen3 as a Hugging Face directory: weights dequantised and rounded to bfloat16 once, a Llama's q and k rows back in
 * Hugging Face's order, its scaled positions as the four numbers of `rope_type` "llama3", tokenizer, chat template and a README that says what the weights were.
 * @throws ModelFileMissing, GgufInvalid, ModelConfigInvalid, OutputTaken, ModelDiskFull; nothing is then left behind.
 */
export async function importGguf(path: string, options: ImportOptions): Promise<void> {
  await refuseTaken(options.outDir);
  const file = await GgufFile.open(path);
  try {
    const config = await decoderConfig(file);
    await writeModelDirectory(options.outDir, {
      config,
      tensors: reportReads(decoderTensors(file, config), { verb: 'dequantised', onProgress: options.onProgress }),
      extraFiles: { ...tokenizerFiles(file, config.maxPositions), 'README.md': readme(file, config, options) },
    });
  } finally {
    await file.close();
  }
}

function readme(file: GgufFile, config: ModelConfig, { baseModel, origin }: ImportOptions): string {
  const metadata = new GgufMetadata(file);
  const kinds = countKinds(file);
  const quantised = [...kinds.keys()].filter((kind) => kind.includes('Q'));
  const weights = quantised.length > 0 ? `dequantised from ${quantised.join(' and ')}` : `converted from ${[...kinds.keys()].join(' and ')}`;
  const list = [...kinds].map(([kind, count]) => `${count} ${kind}`).join(', ');
  return modelCard({
    title: metadata.optionalText('general.name') ?? basename(file.path),
    license: metadata.optionalText('general.license'),
    baseModel,
    tags: [config.architecture],
    sections: [
      { heading: 'Origin', body: `${origin === undefined ? '' : `${origin} `}Weights: ${weights} (tensors of ${basename(file.path)}: ${list}), rounded to bfloat16 once.` },
      { heading: 'Shape', body: `${config.layers} layers, width ${config.hiddenSize}, ${config.heads} heads over ${config.kvHeads} key/value heads, ${config.vocabSize} tokens.` },
    ],
  });
}

/** How many tensors are stored in which kind, the most frequent first. */
function countKinds(file: GgufFile): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { type } of file.tensors.values()) counts.set(type.name, (counts.get(type.name) ?? 0) + 1);
  return new Map([...counts].sort(([, a], [, b]) => b - a));
}
