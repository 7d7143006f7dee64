import { basename, resolve } from 'node:path';
import { refuseTaken } from './atomic.js';
import { LayersInvalid } from './errors.js';
import { modelCard, readCardFacts, type CardFacts } from './model-card.js';
import { ModelDirectory, writeModelDirectory } from './model-directory.js';
import { reportReads, type OnProgress } from './progress.js';
import type { LazyTensor } from './safetensors.js';

/** How a pruning reports. */
export interface PruneOptions {
  /** Told once a tensor. */
  readonly onProgress?: OnProgress;
}

const LAYER = /^model\.layers\.(\d+)\./;

/**
 * Writes a copy of a model that keeps only the named layers, renumbered from 0 in their order; everything else, tokenizer and template included, is
 * taken as it is. The README says what was kept.
 * @param keptLayers at least one, ascending, each in [0, layers of the source).
 * @throws LayersInvalid, OutputTaken, or what opening the source throws, before anything is written; ModelDiskFull.
 */
export async function pruneModel(srcDir: string, outDir: string, keptLayers: readonly number[], { onProgress }: PruneOptions = {}): Promise<void> {
  await refuseTaken(outDir);
  const source = await ModelDirectory.open(srcDir);
  try {
    checkLayers(keptLayers, source.config.layers);
    const tensors = source.names.flatMap((name) => renumbered(source.lazyTensor(name), keptLayers));
    await writeModelDirectory(outDir, {
      config: { ...source.config, layers: keptLayers.length },
      tensors: reportReads(tensors, { verb: 'copied', onProgress }),
      copyTokenizerFrom: srcDir,
      extraFiles: { 'README.md': readme(source, keptLayers, await readCardFacts(srcDir)) },
    });
  } finally {
    await source.close();
  }
}

function checkLayers(kept: readonly number[], layers: number): void {
  if (kept.length === 0) throw new LayersInvalid(`no layer would be kept; name at least one of 0 to ${layers - 1}`);
  for (const [at, layer] of kept.entries()) {
    if (!Number.isInteger(layer) || layer < 0 || layer >= layers) throw new LayersInvalid(`layer ${layer} does not exist; the source has layers 0 to ${layers - 1}`);
    if (at > 0 && layer === kept[at - 1]) throw new LayersInvalid(`layer ${layer} is named twice; name each layer once`);
    if (at > 0 && layer < kept[at - 1]) throw new LayersInvalid(`layer ${layer} stands after ${kept[at - 1]}; name the layers in ascending order`);
  }
}

/** The tensor under its name in the copy, or nothing when its layer is dropped. */
function renumbered(tensor: LazyTensor, kept: readonly number[]): LazyTensor[] {
  const layer = LAYER.exec(tensor.name);
  if (layer === null) return [tensor];
  const index = kept.indexOf(Number(layer[1]));
  return index < 0 ? [] : [{ ...tensor, name: `model.layers.${index}.${tensor.name.slice(layer[0].length)}` }];
}

function readme({ dir, config }: ModelDirectory, kept: readonly number[], { license, baseModel, origin }: CardFacts): string {
  const from = basename(resolve(dir));
  const made = `Made from ${from} by keeping layers ${kept.join(', ')} of its ${config.layers}; nothing was trained since.`;
  return modelCard({
    title: `${from}, ${kept.length} of ${config.layers} layers`,
    license,
    baseModel,
    tags: [config.architecture, 'pruned'],
    sections: [{ heading: 'Origin', body: origin === undefined ? made : `${made}\n\n${origin}` }],
  });
}
