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
  ropeTheta: 100000, maxPositions: 8192, tiedEmbeddings: true, bosId: 1, eosIds: [2], padId: 2,
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

  it('takes the defaults of LlamaConfig where a key is absent', async () => {
    const rest = without('num_key_value_heads', 'rope_theta', 'tie_word_embeddings', 'rms_norm_eps', 'pad_token_id');
    expect(await read(rest)).toEqual({ ...EXPECTED, kvHeads: 9, ropeTheta: 10000, tiedEmbeddings: false, rmsNormEps: 1e-6, padId: null });
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
    ['another architecture', { model_type: 'qwen3' }, /model_type is "qwen3".*"llama"/],
    ['another head', { architectures: ['LlamaForSequenceClassification'] }, /architectures\.0 is "LlamaForSequenceClassification"/],
    ['rope scaling', { rope_scaling: { rope_type: 'llama3', factor: 32 } }, /rope_scaling asks for "llama3"/],
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

  it.each<Partial<ModelConfig>>([{}, { eosIds: [0, 2], tiedEmbeddings: false, padId: null, bosId: null, headDim: 32 }, { eosIds: [] }])('reads back as %j was', async (change) => {
    const config = { ...EXPECTED, ...change };
    writeFileSync(scratch('config.json'), JSON.stringify(configJson(config)));
    writeFileSync(scratch('generation_config.json'), JSON.stringify(generationConfigJson(config)));
    expect(await readModelConfig(scratch())).toEqual(config);
  });
});
