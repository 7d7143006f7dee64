import { checkConfig, type ModelConfig } from '../config.js';
import { GgufInvalid } from '../errors.js';
import { bf16FromFloat32 } from '../floats.js';
import { expectedTensors } from '../parameters.js';
import type { LazyTensor } from '../safetensors.js';
import type { GgufFile } from './gguf-file.js';
import { GgufMetadata } from './gguf-metadata.js';

/** GGUF's names of what Hugging Face calls (llama.cpp, gguf-py/gguf/tensor_mapping.py). */
const TOP_NAMES: Readonly<Record<string, string>> = {
  'model.embed_tokens.weight': 'token_embd.weight',
  'model.norm.weight': 'output_norm.weight',
  'lm_head.weight': 'output.weight',
};
const LAYER_NAMES: Readonly<Record<string, string>> = {
  'input_layernorm.weight': 'attn_norm.weight',
  'self_attn.q_proj.weight': 'attn_q.weight',
  'self_attn.k_proj.weight': 'attn_k.weight',
  'self_attn.v_proj.weight': 'attn_v.weight',
  'self_attn.o_proj.weight': 'attn_output.weight',
  'post_attention_layernorm.weight': 'ffn_norm.weight',
  'mlp.gate_proj.weight': 'ffn_gate.weight',
  'mlp.up_proj.weight': 'ffn_up.weight',
  'mlp.down_proj.weight': 'ffn_down.weight',
};

/** The configuration a GGUF file of Llama architecture describes; the head is tied when it holds no `output.weight`. @throws GgufInvalid, ModelConfigInvalid */
export function llamaConfig(file: Pick<GgufFile, 'path' | 'metadata' | 'tensors'>): ModelConfig {
  const metadata = new GgufMetadata(file);
  const architecture = metadata.text('general.architecture');
  if (architecture !== 'llama') throw new GgufInvalid(`${file.path} holds a model of architecture "${architecture}"; "llama" is read`);
  refuseVariants(file, metadata);
  const heads = metadata.count('llama.attention.head_count');
  const hiddenSize = metadata.count('llama.embedding_length');
  const end = [metadata.count('tokenizer.ggml.eos_token_id'), metadata.optionalCount('tokenizer.ggml.eot_token_id')];
  const config: ModelConfig = {
    architecture: 'llama',
    vocabSize: metadata.texts('tokenizer.ggml.tokens').length,
    hiddenSize,
    intermediateSize: metadata.count('llama.feed_forward_length'),
    layers: metadata.count('llama.block_count'),
    heads,
    kvHeads: metadata.optionalCount('llama.attention.head_count_kv') ?? heads,
    headDim: metadata.optionalCount('llama.attention.key_length') ?? hiddenSize / heads,
    rmsNormEps: metadata.optionalDecimal('llama.attention.layer_norm_rms_epsilon') ?? 1e-5,
    ropeTheta: metadata.optionalDecimal('llama.rope.freq_base') ?? 10000,
    ropeScaling: null,
    maxPositions: metadata.count('llama.context_length'),
    tiedEmbeddings: !file.tensors.has(TOP_NAMES['lm_head.weight']),
    bosId: metadata.optionalCount('tokenizer.ggml.bos_token_id') ?? null,
    eosIds: [...new Set(end.filter((id) => id !== undefined))].sort((a, b) => a - b),
    padId: metadata.optionalCount('tokenizer.ggml.padding_token_id') ?? null,
  };
  checkConfig(config, file.path);
  checkTurned(config, metadata, file.path);
  return config;
}

/**
 * The file's tensors under their Hugging Face names, in bfloat16, rounded once from ggml's float32 values; read when written.
 * @throws GgufInvalid at once when a tensor is missing, too many, or of another shape than the configuration asks for.
 */
export function llamaTensors(file: GgufFile, config: ModelConfig): LazyTensor[] {
  const wanted = new Map([...expectedTensors(config)].map(([name, shape]) => [ggufName(name), { name, shape }]));
  for (const name of file.tensors.keys()) {
    if (!wanted.has(name)) throw new GgufInvalid(`${file.path} holds the tensor ${JSON.stringify(name)}, which a plain Llama model does not have`);
  }
  return [...wanted].map(([stored, { name, shape }]) => {
    const tensor = file.tensors.get(stored);
    if (tensor === undefined) throw new GgufInvalid(`${file.path} lacks the tensor ${JSON.stringify(stored)}`);
    if (tensor.shape.join() !== shape.join()) {
      throw new GgufInvalid(`${file.path}: ${JSON.stringify(stored)} has shape [${tensor.shape.join(', ')}]; its metadata asks for [${shape.join(', ')}]`);
    }
    return { name, dtype: 'BF16', shape, read: async () => bf16Bytes(halfSplit(await file.values(stored), name, config)) };
  });
}

function refuseVariants(file: Pick<GgufFile, 'path' | 'tensors'>, metadata: GgufMetadata): void {
  const scaling = metadata.optionalText('llama.rope.scaling.type') ?? 'none';
  if (scaling !== 'none') throw new GgufInvalid(`${file.path}: llama.rope.scaling.type is "${scaling}"; only models without rope scaling are read`);
  if (file.tensors.has('rope_freqs.weight')) throw new GgufInvalid(`${file.path} holds rope_freqs.weight: its positions are scaled; only models without rope scaling are read`);
  if ((metadata.optionalCount('llama.expert_count') ?? 0) > 0) throw new GgufInvalid(`${file.path} holds a mixture of experts; plain Llama models are read`);
}

/** Every head must be turned whole, and keys and values be of one width. */
function checkTurned(config: ModelConfig, metadata: GgufMetadata, path: string): void {
  for (const key of ['llama.rope.dimension_count', 'llama.attention.value_length']) {
    const width = metadata.optionalCount(key) ?? config.headDim;
    if (width !== config.headDim) throw new GgufInvalid(`${path}: ${key} is ${width} where heads are ${config.headDim} wide; they must be equal`);
  }
}

function ggufName(name: string): string {
  const layer = /^model\.layers\.(\d+)\.(.+)$/.exec(name);
  return layer === null ? TOP_NAMES[name] : `blk.${layer[1]}.${LAYER_NAMES[layer[2]]}`;
}

/**
 * llama.cpp stores the rows of q and k so that the two of a rotated pair are neighbours: of a head's K rows, row 2j + s is Hugging Face's row
 * s K/2 + j (conversion: `LlamaModel.permute`). Undone here, head by head; k has `kvHeads` of them.
 */
function halfSplit(values: Float32Array, name: string, { headDim, hiddenSize }: ModelConfig): Float32Array {
  if (!name.endsWith('q_proj.weight') && !name.endsWith('k_proj.weight')) return values;
  const rows = values.length / hiddenSize;
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const inHead = row % headDim;
    const half = inHead < headDim / 2 ? 0 : 1;
    const source = row - inHead + 2 * (inHead - (half * headDim) / 2) + half;
    turned.set(values.subarray(source * hiddenSize, (source + 1) * hiddenSize), row * hiddenSize);
  }
  return turned;
}

function bf16Bytes(values: Float32Array): Uint8Array {
  return new Uint8Array(bf16FromFloat32(values).buffer);
}
