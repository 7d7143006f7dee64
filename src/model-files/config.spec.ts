import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { useScratchDir } from '../../test/support/scratch-dir.js';
import { configJson, generationConfigJson, readModelConfig, type ModelConfig } from './config.js';

/** config.json of SmolLM2-135M-Instruct as its publisher wrote it (transformers 4 keys). */
const SMOLLM2 = {
  architectures: ['LlamaForCausalLM'], attention_bias: false, attention_dropout: 0, bos_token_id: 1, eos_token_id: 2, hidden_act: 'silu', hidden_size: 576,
  initializer_range: 0.041666666666666664, intermediate_size: 1536, is_llama_config: true, max_position_embeddings: 8192, mlp_bias: false, model_type: 'llama',
  num_attention_heads: 9, num_hidden_layers: 30, num_key_value_heads: 3, pad_token_id: 2, pretraining_tp: 1, rms_norm_eps: 1e-5, rope_interleaved: false,
  rope_scaling: null, rope_theta: 100000, tie_word_embeddings: true, torch_dtype: 'bfloat16', transformers_version: '4.42.3', use_cache: true, vocab_size: 49152,
};
const EXPECTED: ModelConfig = {
  architecture: 'llama', vocabSize: 49152, hiddenSize: 576, intermediateSize: 1536, layers: 30, heads: 9, kvHeads: 3, headDim: 64, rmsNormEps: 1e-5,
  ropeTheta: 100000, ropeScaling: null, maxPositions: 8192, tiedEmbeddings: true, bosId: 1, eosIds: [2], padId: 2,
};

const LLAMA3_ROPE = { rope_type: 'llama3', factor: 32, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
const LLAMA3_SCALING = { factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 };

/** config.json of Qwen2.5-0.5B and of Qwen3-0.6B as their publisher wrote them. */
const QWEN2 = {
  architectures: ['Qwen2ForCausalLM'], attention_dropout: 0, bos_token_id: 151643, eos_token_id: 151643, hidden_act: 'silu', hidden_size: 896, initializer_range: 0.02,
  intermediate_size: 4864, max_position_embeddings: 32768, max_window_layers: 24, model_type: 'qwen2', num_attention_heads: 14, num_hidden_layers: 24, num_key_value_heads: 2,
  rms_norm_eps: 1e-6, rope_theta: 1000000, sliding_window: 32768, tie_word_embeddings: true, torch_dtype: 'bfloat16', use_cache: true, use_mrope: false,
  use_sliding_window: false, vocab_size: 151936,
};
const QWEN3 = {
  architectures: ['Qwen3ForCausalLM'], attention_bias: false, attention_dropout: 0, bos_token_id: 151643, eos_token_id: 151645, head_dim: 128, hidden_act: 'silu',
  hidden_size: 1024, initializer_range: 0.02, intermediate_size: 3072, max_position_embeddings: 40960, max_window_layers: 28, model_type: 'qwen3', num_attention_heads: 16,
  num_hidden_layers: 28, num_key_value_heads: 8, rms_norm_eps: 1e-6, rope_scaling: null, rope_theta: 1000000, sliding_window: null, tie_word_embeddings: true,
  torch_dtype: 'bfloat16', use_cache: true, use_sliding_window: false, vocab_size: 151936,
};

function without(...keys: (keyof typeof SMOLLM2)[]): object {
  return Object.fromEntries(Object.entries(SMOLLM2).filter(([key]) => !keys.some((gone) => gone === key)));
}

describe('readModelConfig', () => {
  const scratch = useScratchDir();
  const read = (config: object, generation?: object): Promise<ModelConfig> => {
    writeFileSync(scratch('config.json'), JSON.stringify(config));
    if (generation !== undefined) writeFileSync(scratch('generation_config.json'), JSON.stringify(generation));
    return readModelConfig(scratch());
  };

  it('reads the keys of transformers 4', async () => {
    expect(await read(SMOLLM2)).toEqual(EXPECTED);
  });

  it('reads the keys of transformers 5', async () => {
    const rest = without('rope_theta', 'rope_scaling', 'torch_dtype');
    expect(await read({ ...rest, dtype: 'bfloat16', rope_parameters: { rope_theta: 100000, rope_type: 'default' } })).toEqual(EXPECTED);
  });

  it('reads the rope scaling of Llama 3, by either key', async () => {
    expect(await read({ ...SMOLLM2, rope_scaling: LLAMA3_ROPE })).toEqual({ ...EXPECTED, ropeScaling: LLAMA3_SCALING });
    expect(await read({ ...without('rope_theta', 'rope_scaling'), rope_parameters: { ...LLAMA3_ROPE, rope_theta: 100000 } })).toEqual({ ...EXPECTED, ropeScaling: LLAMA3_SCALING });
  });

  it('reads Qwen2.5 and Qwen3', async () => {
    expect(await read(QWEN2)).toEqual({
      architecture: 'qwen2', vocabSize: 151936, hiddenSize: 896, intermediateSize: 4864, layers: 24, heads: 14, kvHeads: 2, headDim: 64, rmsNormEps: 1e-6, ropeTheta: 1000000,
      ropeScaling: null, maxPositions: 32768, tiedEmbeddings: true, bosId: 151643, eosIds: [151643], padId: null,
    });
    expect(await read(QWEN3)).toEqual({
      architecture: 'qwen3', vocabSize: 151936, hiddenSize: 1024, intermediateSize: 3072, layers: 28, heads: 16, kvHeads: 8, headDim: 128, rmsNormEps: 1e-6, ropeTheta: 1000000,
      ropeScaling: null, maxPositions: 40960, tiedEmbeddings: true, bosId: 151643, eosIds: [151645], padId: null,
    });
  });

  it('takes the defaults of LlamaConfig where a key is absent', async () => {
    const rest = without('num_key_value_heads', 'rope_theta', 'tie_word_embeddings', 'rms_norm_eps', 'pad_token_id');
    expect(await read(rest)).toEqual({ ...EXPECTED, kvHeads: 9, ropeTheta: 10000, ropeScaling: null, tiedEmbeddings: false, rmsNormEps: 1e-6, padId: null });
  });

  it('takes a stated head_dim over hidden_size / heads', async () => {
    expect(await read({ ...SMOLLM2, head_dim: 128 })).toMatchObject({ headDim: 128 });
  });

  it('unites the end ids of both files, ascending, and takes other ids from either', async () => {
    const rest = without('bos_token_id', 'pad_token_id');
    const config = await read({ ...rest, eos_token_id: [7, 2] }, { eos_token_id: [0, 7], bos_token_id: 5, pad_token_id: 6 });
    expect(config).toMatchObject({ eosIds: [0, 2, 7], bosId: 5, padId: 6 });
    expect(await read({ ...rest, eos_token_id: null, pad_token_id: -1 }, { eos_token_id: 3 })).toMatchObject({ eosIds: [3], padId: null });
  });

  it.each(['auto_map', 'custom_pipelines', 'trust_remote_code'])('refuses a model that asks for code by %s', async (key) => {
    await expect(read({ ...SMOLLM2, [key]: {} })).rejects.toMatchObject({ code: 'model_files.config_invalid', message: expect.stringContaining(`config.json: ${key} asks for code`) });
  });

  it('refuses a configuration beyond a megabyte', async () => {
    await expect(read({ ...SMOLLM2, note: 'x'.repeat(1_000_000) })).rejects.toMatchObject({ code: 'model_files.file_malformed', message: expect.stringContaining('at most 1000000') });
    await expect(read(SMOLLM2, { note: 'x'.repeat(1_000_000) })).rejects.toMatchObject({ code: 'model_files.file_malformed' });
  });

  it.each<[string, object, RegExp]>([
    ['another architecture', { model_type: 'gemma' }, /model_type is "gemma".*"llama"/],
    ['another head', { architectures: ['LlamaForSequenceClassification'] }, /architectures\.0 is "LlamaForSequenceClassification"/],
    ['a head of another family', { model_type: 'qwen2' }, /architectures\.0 is "LlamaForCausalLM".*"Qwen2ForCausalLM"/],
    ['sliding windows', { use_sliding_window: true }, /use_sliding_window is true/],
    ['layers of another kind', { layer_types: ['full_attention', 'sliding_attention'] }, /layer_types\.1 is "sliding_attention"/],
    ['half a rope scaling', { rope_scaling: { rope_type: 'llama3', factor: 32 } }, /rope_scaling asks for "llama3" and lacks low_freq_factor/],
    ['a rope scaling without room between its bounds', { rope_scaling: { ...LLAMA3_ROPE, high_freq_factor: 1 } }, /high_freq_factor 1 must exceed low_freq_factor 1/],
    ['a rope scaling that shrinks', { rope_scaling: { ...LLAMA3_ROPE, factor: 0.5 } }, /factor is 0\.5.*at least 1/],
    ['two rope scalings', { rope_scaling: LLAMA3_ROPE, rope_parameters: { ...LLAMA3_ROPE, factor: 8, rope_theta: 100000 } }, /rope_scaling and rope_parameters differ/],
    ['old-style rope scaling', { rope_scaling: { type: 'linear', factor: 2 } }, /rope_scaling asks for "linear"/],
    ['rope scaling in version 5 keys', { rope_parameters: { rope_type: 'yarn', rope_theta: 1e5 } }, /rope_parameters asks for "yarn"/],
    ['two rope bases', { rope_parameters: { rope_type: 'default', rope_theta: 5 } }, /stands twice and differs: 100000 and 5/],
    ['interleaved rope', { rope_interleaved: true }, /rope_interleaved is true/],
    ['attention biases', { attention_bias: true }, /attention_bias is true/],
    ['mlp biases', { mlp_bias: true }, /mlp_bias is true/],
    ['another activation', { hidden_act: 'gelu' }, /hidden_act is "gelu"/],
    ['quantised weights', { quantization_config: { bits: 4 } }, /quantization_config/],
    ['heads that do not divide', { num_key_value_heads: 4 }, /num_attention_heads 9 does not divide by num_key_value_heads 4/],
    ['a width that does not divide', { hidden_size: 577 }, /hidden_size 577 does not divide by num_attention_heads 9/],
    ['an odd head width', { head_dim: 63 }, /head_dim is 63; rotary positions need an even one/],
    ['no layers', { num_hidden_layers: 0 }, /num_hidden_layers is 0/],
    ['more layers than any model has', { num_hidden_layers: 2 ** 31 - 1 }, /num_hidden_layers is 2147483647: Too big/],
    ['a missing size', { vocab_size: undefined }, /vocab_size is absent/],
    ['a size as text', { hidden_size: '576' }, /hidden_size is "576"/],
    ['an end id outside the vocabulary', { eos_token_id: 49152 }, /token id 49152 .* outside \[0, 49152\)/],
  ])('refuses %s', async (_what, change, problem) => {
    await expect(read({ ...SMOLLM2, ...change })).rejects.toMatchObject({ code: 'model_files.config_invalid', message: expect.stringMatching(problem) });
  });

  it('refuses a missing file, broken JSON and a key that stands twice', async () => {
    await expect(readModelConfig(scratch())).rejects.toMatchObject({ code: 'model_files.file_missing' });
    writeFileSync(scratch('config.json'), '{"model_type": "llama",');
    await expect(readModelConfig(scratch())).rejects.toMatchObject({ code: 'model_files.file_malformed' });
    writeFileSync(scratch('config.json'), '{"model_type": "llama", "a": [{"b": "}", "c\\"": 1, "b": 2}]}');
    await expect(readModelConfig(scratch())).rejects.toThrow(/names "b" twice/);
  });
});

describe('configJson', () => {
  const scratch = useScratchDir();

  it.each<Partial<ModelConfig>>([{}, { architecture: 'qwen2' }, { architecture: 'qwen3', headDim: 128 }, { ropeScaling: LLAMA3_SCALING }, { eosIds: [0, 2], tiedEmbeddings: false, padId: null, bosId: null, headDim: 32 }, { eosIds: [] }])('reads back as %j was', async (change) => {
    const config = { ...EXPECTED, ...change };
    writeFileSync(scratch('config.json'), JSON.stringify(configJson(config)));
    writeFileSync(scratch('generation_config.json'), JSON.stringify(generationConfigJson(config)));
    expect(await readModelConfig(scratch())).toEqual(config);
  });
});
