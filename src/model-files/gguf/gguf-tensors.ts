import type { ModelConfig } from '../config.js';
import { GgufInvalid } from '../errors.js';
import { bf16FromFloat32 } from '../floats.js';
import { expectedTensors } from '../parameters.js';
import type { LazyTensor } from '../safetensors.js';
import type { GgufFile } from './gguf-file.js';
import { ROPE_FACTORS } from './gguf-rope.js';

/** GGUF's names of what Hugging Face calls (llama.cpp, gguf-py/gguf/tensor_mapping.py). */
const TOP_NAMES: Readonly<Record<string, string>> = {
  'model.embed_tokens.weight': 'token_embd.weight',
  'model.norm.weight': 'output_norm.weight',
  'lm_head.weight': 'output.weight',
};
const LAYER_NAMES: Readonly<Record<string, string>> = {
  'input_layernorm': 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'self_attn.o_proj': 'attn_output',
  'post_attention_layernorm': 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

/**
 * The file's tensors under their Hugging Face names, in bfloat16, rounded once from ggml's float32 values; read when written.
 * @throws GgufInvalid at once when a tensor is missing, too many, or of another shape than the configuration asks for.
 */
export function decoderTensors(file: GgufFile, config: ModelConfig): LazyTensor[] {
  const wanted = new Map([...expectedTensors(config)].map(([name, shape]) => [ggufName(name), { name, shape }]));
  const isExpected = (name: string): boolean => wanted.has(name) || (name === ROPE_FACTORS && config.architecture === 'llama');
  const surplus = [...file.tensors.keys()].find((name) => !isExpected(name));
  if (surplus !== undefined) throw new GgufInvalid(`${file.path} holds the tensor ${JSON.stringify(surplus)}, which a plain model of architecture "${config.architecture}" does not have`);
  return [...wanted].map(([stored, { name, shape }]) => {
    const tensor = file.tensors.get(stored);
    if (tensor === undefined) throw new GgufInvalid(`${file.path} lacks the tensor ${JSON.stringify(stored)}`);
    if (tensor.shape.join() !== shape.join()) {
      throw new GgufInvalid(`${file.path}: ${JSON.stringify(stored)} has shape [${tensor.shape.join(', ')}]; its metadata asks for [${shape.join(', ')}]`);
    }
    return { name, dtype: 'BF16', shape, read: async () => bf16Bytes(halfSplit(await file.values(stored), name, config)) };
  });
}

function ggufName(name: string): string {
  const layer = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name);
  return layer === null ? TOP_NAMES[name] : `blk.${layer[1]}.${LAYER_NAMES[layer[2]]}.${layer[3]}`;
}

/**
 * llama.cpp stores the rows of a Llama's q and k so that the two of a rotated pair are neighbours: of a head's K rows, row 2j + s is Hugging Face's row
 * s K/2 + j (conversion: `LlamaModel.permute`). Undone here, head by head; k has `kvHeads` of them. Qwen's stay as they are.
 */
function halfSplit(values: Float32Array, name: string, { architecture, headDim, hiddenSize }: ModelConfig): Float32Array {
  if (architecture !== 'llama' || !/\.(q|k)_proj\.weight$/.test(name)) return values;
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
