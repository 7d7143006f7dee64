import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { GGUF_LLAMA, ggufTensors, matrix, tinyGguf } from '../../../test/support/gguf-llama.js';
import type { GgufInput, GgufTensorInput } from '../../../test/support/gguf-builder.js';
import { useScratchDir } from '../../../test/support/scratch-dir.js';
import { ChatTemplate } from '../chat-template.js';
import { ModelDirectory, toBf16Bits, toFloat32 } from '../model-directory.js';
import type { Progress } from '../progress.js';
import { Tokenizer } from '../tokenizer.js';
import { importGguf } from './import-gguf.js';

describe('importGguf', () => {
  const scratch = useScratchDir();
  const out = () => scratch('model');
  const importing = (bytes: Uint8Array, onProgress?: (event: Progress) => void) => {
    writeFileSync(scratch('tiny.gguf'), bytes);
    return importGguf(scratch('tiny.gguf'), { outDir: out(), onProgress });
  };
  const withTensor = (changed: GgufTensorInput) => tinyGguf({}, ggufTensors().map((tensor) => (tensor.name === changed.name ? changed : tensor)));
  const tensorOf = async (name: string) => {
    const model = await ModelDirectory.open(out());
    const tensor = await model.tensor(name);
    await model.close();
    return tensor;
  };
  /** The first column, which holds the row's number in the GGUF file. */
  const rowsOf = async (name: string) => {
    const values = toFloat32(await tensorOf(name));
    return [...values].filter((_value, at) => at % GGUF_LLAMA.hidden === 0);
  };

  it('writes the configuration that the metadata describes, decimals as they were meant', async () => {
    await importing(tinyGguf());

    const model = await ModelDirectory.open(out());
    expect(model.config).toMatchObject({
      architecture: 'llama', hiddenSize: 32, intermediateSize: 64, layers: 1, heads: 6, kvHeads: 3, headDim: 6, rmsNormEps: 1e-5, ropeTheta: 100000, ropeScaling: null,
      maxPositions: 128, bosId: 1, eosIds: [2], padId: 2,
    });
    await model.close();
  });

  it('undoes the permutation of q and k head by head, with 6 heads and 3 key/value heads, and leaves v alone', async () => {
    await importing(tinyGguf());

    const oneHead = [0, 2, 4, 1, 3, 5];
    const heads = (count: number) => Array.from({ length: count }, (_unused, head) => oneHead.map((row) => 6 * head + row)).flat();
    expect(await rowsOf('model.layers.0.self_attn.q_proj.weight')).toEqual(heads(6));
    expect(await rowsOf('model.layers.0.self_attn.k_proj.weight')).toEqual(heads(3));
    expect(await rowsOf('model.layers.0.self_attn.v_proj.weight')).toEqual([...Array(18).keys()]);
  });

  it('ties the head when the file holds none, and not when it does', async () => {
    await importing(tinyGguf());
    const tied = await ModelDirectory.open(out());
    expect(tied.config.tiedEmbeddings).toBe(true);
    await tied.close();

    const [embedding, ...rest] = ggufTensors();
    writeFileSync(scratch('untied.gguf'), tinyGguf({}, [embedding, ...rest, { ...embedding, name: 'output.weight' }]));
    await importGguf(scratch('untied.gguf'), { outDir: scratch('untied') });
    const untied = await ModelDirectory.open(scratch('untied'));
    expect(untied.config.tiedEmbeddings).toBe(false);
    expect(untied.names).toContain('lm_head.weight');
    await untied.close();
  });

  it('rounds to bfloat16 once, ties to even', async () => {
    const values = new Float32Array(Uint32Array.from({ length: 32 }, (_unused, at) => [0x3f808000, 0x3f818000, 0x3f808001, 0x3f800000][at % 4]).buffer);
    await importing(withTensor({ name: 'output_norm.weight', fastestFirst: [32], code: 0, bytes: new Uint8Array(values.buffer) }));
    expect([...toBf16Bits(await tensorOf('model.norm.weight'))].slice(0, 4)).toEqual([0x3f80, 0x3f82, 0x3f81, 0x3f80]);
  });

  it('dequantises Q4_1 and says so on the card', async () => {
    const block = [0x00, 0x38, 0x00, 0xc0, ...Array(16).fill(0x51)];
    await importing(withTensor({ name: 'blk.0.ffn_up.weight', fastestFirst: [32, 64], code: 3, bytes: Uint8Array.from(Array(64).fill(block).flat()) }));

    const values = toFloat32(await tensorOf('model.layers.0.mlp.up_proj.weight'));
    expect([values[0], values[15], values[16], values[2047]]).toEqual([-1.5, -1.5, 0.5, 0.5]);
    const card = readFileSync(`${out()}/README.md`, 'utf8');
    expect(card).toMatch(/^---\nlicense: apache-2.0\n/);
    expect(card).toContain('dequantised from Q4_1 (tensors of tiny.gguf: 10 F32, 1 Q4_1), rounded to bfloat16 once');
  });

  it('writes a tokenizer that takes digits one by one, special tokens whole, and puts nothing before a text', async () => {
    await importing(tinyGguf());

    const tokenizer = await Tokenizer.load(out());
    const digit = (text: string) => tokenizer.idOf(text);
    expect([...tokenizer.encode('2024')]).toEqual([digit('2'), digit('0'), digit('2'), digit('4')]);
    expect([...tokenizer.encode('<|im_start|>hi hi<|im_end|>')]).toEqual([1, tokenizer.idOf('hi'), tokenizer.idOf('Ġhi'), 2]);
    expect(tokenizer.decode(tokenizer.encode('Zoë 東京\n'), { skipSpecial: 'keep' })).toBe('Zoë 東京\n');
    expect(JSON.parse(readFileSync(`${out()}/tokenizer_config.json`, 'utf8'))).toMatchObject({ bos_token: '<|im_start|>', eos_token: '<|im_end|>', pad_token: '<|im_end|>', unk_token: null, model_max_length: 128 });
    expect((await ChatTemplate.load(out())).render([{ role: 'user', content: 'hi' }], { addGenerationPrompt: 'add' })).toBe('<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n');
  });

  it('keeps a user-defined token as added but not special', async () => {
    const types = [3, 3, 3, ...Array(261).fill(1)];
    types[types.length - 1] = 4;
    await importing(tinyGguf({ 'tokenizer.ggml.token_type': { i32s: types } }));
    const tokenizer = await Tokenizer.load(out());
    expect(tokenizer.decode(tokenizer.encode('<|im_end|>Ġhi'), { skipSpecial: 'skip' })).toBe('Ġhi');
    expect(tokenizer.encode('Ġhi')).toHaveLength(1);
  });

  it('counts its progress tensor by tensor', async () => {
    const events: Progress[] = [];
    await importing(tinyGguf(), (event) => void events.push(event));
    expect(events.map(({ done }) => done)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(events[0].total).toBe(11);
  });

  it.each<[string, Record<string, GgufInput | undefined>, RegExp]>([
    ['another architecture', { 'general.architecture': 'gemma' }, /architecture "gemma"; read are: llama, qwen2, qwen3/],
    ['no architecture', { 'general.architecture': undefined }, /lacks general.architecture, a text/],
    ['a size as text', { 'llama.block_count': 'one' }, /llama.block_count must be a whole number/],
    ['scaled positions', { 'llama.rope.scaling.type': 'yarn' }, /rope.scaling.type is "yarn"; read are models without/],
    ['experts', { 'llama.expert_count': { u32: 8 } }, /mixture of experts/],
    ['heads turned in part', { 'llama.rope.dimension_count': { u32: 4 } }, /dimension_count is 4 where heads are 6 wide/],
    ['heads that do not divide', { 'llama.attention.head_count_kv': { u32: 4 } }, /does not divide/],
    ['an end id outside the vocabulary', { 'tokenizer.ggml.eos_token_id': { u32: 9999 } }, /token id 9999/],
    ['another number of layers', { 'llama.block_count': { u32: 2 } }, /lacks the tensor "blk.1/],
    ['another tokenizer', { 'tokenizer.ggml.model': 'llama' }, /tokenizer.ggml.model is "llama"/],
    ['another pre-tokenizer', { 'tokenizer.ggml.pre': 'tekken' }, /tokenizer.ggml.pre is "tekken"; read are: smollm, llama-bpe, llama3, llama-v3, qwen2/],
    ['a tokenizer that adds a space', { 'tokenizer.ggml.add_space_prefix': true }, /add_space_prefix is set/],
    ['a tokenizer that ends texts', { 'tokenizer.ggml.add_eos_token': true }, /add_eos_token is set/],
    ['token types that do not fit', { 'tokenizer.ggml.token_type': { i32s: [3] } }, /has 1 entries for 264 tokens/],
    ['a control token without text', { 'tokenizer.ggml.tokens': { texts: ['', ...Array(263).keys()].map(String) } }, /token 0 is a control or user-defined token without text/],
    ['a token that stands twice', { 'tokenizer.ggml.tokens': { texts: Array(264).fill('a') } }, /holds a token twice/],
    ['a merge of unknown tokens', { 'tokenizer.ggml.merges': { texts: ['hi there'] } }, /the merge "hi there"/],
    ['a merge of one token', { 'tokenizer.ggml.merges': { texts: ['hi'] } }, /the merge "hi"/],
  ])('refuses %s and leaves nothing behind', async (_what, change, problem) => {
    await expect(importing(tinyGguf(change))).rejects.toThrow(problem);
    expect(readdirSync(scratch())).toEqual(['tiny.gguf']);
  });

  it.each<[string, GgufTensorInput[], RegExp]>([
    ['scaled rope frequencies of no known kind', [...ggufTensors(), matrix('rope_freqs.weight', 1, 3)], /rope_freqs.weight is not what/],
    ['a bias', [...ggufTensors(), matrix('blk.0.attn_q.bias', 1, 36)], /"blk.0.attn_q.bias", which a plain model of architecture "llama" does not have/],
    ['another shape', [...ggufTensors().slice(0, -1), matrix('output_norm.weight', 1, 31)], /"output_norm.weight" has shape \[31\]; its metadata asks for \[32\]/],
  ])('refuses %s', async (_what, tensors, problem) => {
    await expect(importing(tinyGguf({}, tensors))).rejects.toMatchObject({ code: 'model_files.gguf_invalid', message: expect.stringMatching(problem) });
  });

  it('refuses a directory that is taken before it reads the file', async () => {
    await expect(importGguf(scratch('none.gguf'), { outDir: new URL('.', import.meta.url).pathname })).rejects.toMatchObject({ code: 'model_files.output_taken' });
  });
});
