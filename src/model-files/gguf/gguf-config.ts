import { checkConfig, type Architecture, type ModelConfig, type RopeScaling } from '../config.js';
import { GgufInvalid } from '../errors.js';
import type { GgufFile } from './gguf-file.js';
import { GgufMetadata } from './gguf-metadata.js';
import { ROPE_FACTORS, ropeScaling } from './gguf-rope.js';
import { endTokens } from './gguf-vocabulary.js';

const ARCHITECTURES: readonly Architecture[] = ['llama', 'qwen2', 'qwen3'];

/**
 * The configuration a GGUF file of a known architecture describes; the head is tied when it holds no `output.weight`. Ids that end a completion are those the file names and
 * those that its kind of vocabulary ends turns and texts with.
 * @throws GgufInvalid, ModelConfigInvalid
 */
export async function decoderConfig(file: GgufFile): Promise<ModelConfig> {
  const metadata = new GgufMetadata(file);
  const architecture = architectureOf(file, metadata);
  refuseVariants(file, metadata, architecture);
  const heads = metadata.size(`${architecture}.attention.head_count`);
  const hiddenSize = metadata.size(`${architecture}.embedding_length`);
  const shape = {
    architecture,
    vocabSize: metadata.texts('tokenizer.ggml.tokens').length,
    hiddenSize,
    intermediateSize: metadata.size(`${architecture}.feed_forward_length`),
    layers: layersOf(file, metadata.size(`${architecture}.block_count`)),
    heads,
    kvHeads: metadata.optionalSize(`${architecture}.attention.head_count_kv`) ?? heads,
    headDim: metadata.optionalSize(`${architecture}.attention.key_length`) ?? hiddenSize / heads,
    rmsNormEps: metadata.optionalDecimal(`${architecture}.attention.layer_norm_rms_epsilon`) ?? 1e-5,
    ropeTheta: metadata.optionalDecimal(`${architecture}.rope.freq_base`) ?? 10000,
    ropeScaling: null,
    maxPositions: metadata.size(`${architecture}.context_length`),
    tiedEmbeddings: !file.tensors.has('output.weight'),
    bosId: metadata.optionalCount('tokenizer.ggml.bos_token_id') ?? null,
    eosIds: endTokens(metadata),
    padId: metadata.optionalCount('tokenizer.ggml.padding_token_id') ?? null,
  };
  checkConfig(shape, file.path);
  checkTurned(shape, metadata, file.path);
  return { ...shape, ropeScaling: await scalingOf(file, shape) };
}

function architectureOf({ path }: GgufFile, metadata: GgufMetadata): Architecture {
  const stated = metadata.text('general.architecture');
  const known = ARCHITECTURES.find((name) => name === stated);
  if (known === undefined) throw new GgufInvalid(`${path} holds a model of architecture "${stated}"; read are: ${ARCHITECTURES.join(', ')}`);
  return known;
}

/** Every layer has tensors, so a count beyond them is refused before anything of its length is made. */
function layersOf({ path, tensors }: GgufFile, layers: number): number {
  if (layers > tensors.size) throw new GgufInvalid(`${path}: block_count is ${layers}; the file holds ${tensors.size} tensors in all`);
  return layers;
}

function refuseVariants({ path }: GgufFile, metadata: GgufMetadata, architecture: Architecture): void {
  const scaling = metadata.optionalText(`${architecture}.rope.scaling.type`) ?? 'none';
  if (scaling !== 'none') throw new GgufInvalid(`${path}: ${architecture}.rope.scaling.type is "${scaling}"; read are models without, and Llama 3's, which is stored as ${ROPE_FACTORS}`);
  if ((metadata.optionalCount(`${architecture}.expert_count`) ?? 0) > 0) throw new GgufInvalid(`${path} holds a mixture of experts; dense models are read`);
}

/** Every head must be turned whole, and keys and values be of one width. */
function checkTurned(config: ModelConfig, metadata: GgufMetadata, path: string): void {
  for (const key of [`${config.architecture}.rope.dimension_count`, `${config.architecture}.attention.value_length`]) {
    const width = metadata.optionalCount(key) ?? config.headDim;
    if (width !== config.headDim) throw new GgufInvalid(`${path}: ${key} is ${width} where heads are ${config.headDim} wide; they must be equal`);
  }
}

async function scalingOf(file: GgufFile, config: ModelConfig): Promise<RopeScaling | null> {
  const stored = file.tensors.get(ROPE_FACTORS);
  if (stored === undefined) return null;
  const pairs = config.headDim / 2;
  if (stored.shape.join() !== String(pairs)) throw new GgufInvalid(`${file.path}: ${ROPE_FACTORS} has shape [${stored.shape.join(', ')}]; heads of ${config.headDim} turn [${pairs}] pairs`);
  return ropeScaling(await file.values(ROPE_FACTORS), config, file.path);
}
