import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { useScratchDir } from '../../test/support/scratch-dir.js';
import type { ModelConfig } from './config.js';
import { ModelDirectory, toFloat32, writeModelDirectory } from './model-directory.js';
import { expectedTensors, parameterCount } from './parameters.js';
import { writeSafetensors, type NamedTensor } from './safetensors.js';

const CONFIG: ModelConfig = {
  architecture: 'llama', vocabSize: 11, hiddenSize: 6, intermediateSize: 10, layers: 2, heads: 3, kvHeads: 1, headDim: 4, rmsNormEps: 1e-5,
  ropeTheta: 10000, ropeScaling: null, maxPositions: 64, tiedEmbeddings: true, bosId: 1, eosIds: [2], padId: null,
};

function weights(config: ModelConfig): NamedTensor[] {
  return [...expectedTensors(config)].map(([name, shape], index) => {
    const values = new Float32Array(shape.reduce((all, size) => all * size, 1)).fill(index);
    return { name, dtype: 'F32', shape, bytes: new Uint8Array(values.buffer) };
  });
}

describe('ModelDirectory', () => {
  const scratch = useScratchDir();
  const dir = () => scratch('model');
  const write = (tensors = weights(CONFIG)) => writeModelDirectory(dir(), { config: CONFIG, tensors });
  const rewrite = (tensors: NamedTensor[]) => writeSafetensors(`${dir()}/model.safetensors`, tensors);

  it('reads back what was written', async () => {
    await write();

    const model = await ModelDirectory.open(dir());
    expect(model.config).toEqual(CONFIG);
    expect(model.names).toEqual([...expectedTensors(CONFIG).keys()]);
    expect(toFloat32(await model.tensor('model.layers.1.self_attn.k_proj.weight'))).toEqual(new Float32Array(24).fill(12));
    await expect(model.tensor('nothing')).rejects.toMatchObject({ code: 'model_files.directory_invalid' });
    await model.close();
  });

  it('reads shards by their index', async () => {
    await write();
    const [first, ...rest] = weights(CONFIG);
    await writeSafetensors(`${dir()}/model-00001-of-00002.safetensors`, [first]);
    await writeSafetensors(`${dir()}/model-00002-of-00002.safetensors`, rest);
    const map = Object.fromEntries([[first.name, 'model-00001-of-00002.safetensors'], ...rest.map(({ name }) => [name, 'model-00002-of-00002.safetensors'])]);
    writeFileSync(`${dir()}/model.safetensors.index.json`, JSON.stringify({ metadata: { total_size: 1 }, weight_map: map }));

    const model = await ModelDirectory.open(dir());
    expect(toFloat32(await model.tensor('model.norm.weight'))).toEqual(new Float32Array(6).fill(19));
    await model.close();
  });

  it.each<[string, object, string]>([
    ['a path out of the directory', { 'model.norm.weight': '../other.safetensors' }, 'model_files.directory_invalid'],
    ['an absolute path', { 'model.norm.weight': '/etc/passwd' }, 'model_files.directory_invalid'],
    ['a shard that is not there', { 'model.norm.weight': 'model-00009.safetensors' }, 'model_files.file_missing'],
    ['a tensor its shard does not hold', { other: 'model.safetensors' }, 'model_files.directory_invalid'],
    ['a number for a name', { other: 3 }, 'model_files.directory_invalid'],
  ])('refuses an index with %s', async (_what, weightMap, code) => {
    await write();
    writeFileSync(`${dir()}/model.safetensors.index.json`, JSON.stringify({ weight_map: weightMap }));
    await expect(ModelDirectory.open(dir())).rejects.toMatchObject({ code });
  });

  it.each<[string, (tensors: NamedTensor[]) => NamedTensor[], RegExp]>([
    ['a missing tensor', (tensors) => tensors.slice(1), /lacks the tensor "model.embed_tokens.weight"/],
    ['a wrong shape', ([first, ...rest]) => [{ ...first, shape: [6, 11] }, ...rest], /has shape \[6, 11\]; the configuration asks for \[11, 6\]/],
    ['whole numbers', ([first, ...rest]) => [{ ...first, dtype: 'I32' }, ...rest], /holds I32; weights are BF16, F16, F32/],
    ['a bias', (tensors) => [...tensors, { ...tensors[1], name: 'model.layers.0.self_attn.q_proj.bias' }], /q_proj.bias", which a model/],
  ])('refuses %s', async (_what, change, problem) => {
    await write();
    await rewrite(change(weights(CONFIG)));
    await expect(ModelDirectory.open(dir())).rejects.toMatchObject({ code: 'model_files.directory_invalid', message: expect.stringMatching(problem) });
  });

  it('ignores a stored head beside tied embeddings', async () => {
    await write();
    await rewrite([...weights(CONFIG), { ...weights(CONFIG)[0], name: 'lm_head.weight' }]);

    const model = await ModelDirectory.open(dir());
    expect(model.names).not.toContain('lm_head.weight');
    await expect(model.tensor('lm_head.weight')).rejects.toMatchObject({ code: 'model_files.directory_invalid' });
    expect(() => model.lazyTensor('lm_head.weight')).toThrow(/holds no tensor/);
    await model.close();
  });

  it('asks for the head when it is not tied', async () => {
    await expect(writeModelDirectory(dir(), { config: { ...CONFIG, tiedEmbeddings: false }, tensors: weights(CONFIG) })).rejects.toThrow(/lacks the tensor "lm_head.weight"/);
    expect(readdirSync(scratch())).toEqual([]);
  });

  it('says which file is missing', async () => {
    mkdirSync(dir());
    await expect(ModelDirectory.open(dir())).rejects.toThrow(/config\.json is missing/);
    writeFileSync(`${dir()}/config.json`, JSON.stringify({ model_type: 'llama', vocab_size: 1, hidden_size: 2, intermediate_size: 1, num_hidden_layers: 1, num_attention_heads: 1 }));
    await expect(ModelDirectory.open(dir())).rejects.toThrow(/neither model.safetensors nor model.safetensors.index.json/);
  });
});

describe('writeModelDirectory', () => {
  const scratch = useScratchDir();

  it('copies the tokenizer and writes further files, which win', async () => {
    mkdirSync(scratch('from'));
    for (const name of ['tokenizer.json', 'chat_template.jinja', 'pickle.bin']) writeFileSync(scratch(`from/${name}`), name);

    await writeModelDirectory(scratch('a/b'), { config: CONFIG, tensors: weights(CONFIG), copyTokenizerFrom: scratch('from'), extraFiles: { 'README.md': '# x', 'tokenizer.json': 'mine' } });

    expect(readdirSync(scratch('a/b')).sort()).toEqual(['README.md', 'chat_template.jinja', 'config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json']);
    expect(readFileSync(scratch('a/b/tokenizer.json'), 'utf8')).toBe('mine');
    expect(JSON.parse(readFileSync(scratch('a/b/config.json'), 'utf8'))).toMatchObject({ torch_dtype: 'float32', rope_parameters: { rope_theta: 10000 } });
  });

  it('refuses a directory that holds something and touches nothing', async () => {
    mkdirSync(scratch('taken'));
    writeFileSync(scratch('taken/notes'), 'mine');

    await expect(writeModelDirectory(scratch('taken'), { config: CONFIG, tensors: weights(CONFIG) })).rejects.toMatchObject({ code: 'model_files.output_taken' });
    expect(readdirSync(scratch())).toEqual(['taken']);
    expect(readdirSync(scratch('taken'))).toEqual(['notes']);
  });

  it('refuses a file in the place of the directory', async () => {
    writeFileSync(scratch('file'), '');
    await expect(writeModelDirectory(scratch('file'), { config: CONFIG, tensors: weights(CONFIG) })).rejects.toMatchObject({ code: 'model_files.output_taken' });
  });

  it('takes the place of an empty directory', async () => {
    mkdirSync(scratch('empty'));
    await writeModelDirectory(scratch('empty'), { config: CONFIG, tensors: weights(CONFIG) });
    expect(readdirSync(scratch('empty'))).toContain('model.safetensors');
  });

  it('leaves nothing behind when the disk fills up, and says so', async () => {
    const [{ name, shape }, ...rest] = weights(CONFIG);
    const full = { name, shape, dtype: 'F32' as const, read: () => Promise.reject(Object.assign(new Error('write'), { code: 'ENOSPC' })) };

    await expect(writeModelDirectory(scratch('out'), { config: CONFIG, tensors: [full, ...rest] })).rejects.toMatchObject({ code: 'model_files.disk_full' });
    expect(readdirSync(scratch())).toEqual([]);
  });

  it('refuses a further file outside the directory', async () => {
    await expect(writeModelDirectory(scratch('out'), { config: CONFIG, tensors: weights(CONFIG), extraFiles: { '../x': '' } })).rejects.toThrow(/not a plain file name/);
    expect(readdirSync(scratch())).toEqual([]);
  });
});

describe('parameterCount', () => {
  const smollm2 = { ...CONFIG, vocabSize: 49152, hiddenSize: 576, intermediateSize: 1536, layers: 30, heads: 9, kvHeads: 3, headDim: 64 };

  it('gives the published 134 515 008 of SmolLM2-135M, two bytes each', () => {
    expect(parameterCount(smollm2)).toBe(134_515_008);
  });

  it('counts an untied head on top', () => {
    expect(parameterCount({ ...smollm2, tiedEmbeddings: false })).toBe(134_515_008 + 49152 * 576);
  });
});
