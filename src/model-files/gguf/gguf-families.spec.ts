import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { familyGguf, GOLDEN_VOCABULARY, vector } from '../../../test/support/gguf-families.js';
import { useScratchDir } from '../../../test/support/scratch-dir.js';
import { familyTensors, TINY_FAMILIES } from '../../../test/support/tiny-families.js';
import type { ModelConfig } from '../config.js';
import { ModelDirectory } from '../model-directory.js';
import { Tokenizer } from '../tokenizer.js';
import { importGguf } from './import-gguf.js';

interface GoldenRope {
  readonly model: string;
  readonly head_dim: number;
  readonly theta: number;
  readonly factor: number;
  readonly low: number;
  readonly high: number;
  readonly original: number;
  readonly factors: readonly number[];
}

const ROPES = JSON.parse(readFileSync(new URL('../../../test/golden/files/gguf/rope.json', import.meta.url), 'utf8')) as GoldenRope[];
/** No padding id: the file names none. */
const FAMILIES = Object.entries(TINY_FAMILIES).map(([name, config]): [string, ModelConfig] => [name, { ...config, vocabSize: GOLDEN_VOCABULARY.tokens.length, bosId: 0, eosIds: [1], padId: null }]);
const LLAMA = family('llama');
const QWEN2 = family('qwen2');
const QWEN3 = family('qwen3');

function family(architecture: ModelConfig['architecture']): ModelConfig {
  const found = FAMILIES.find(([, config]) => config.architecture === architecture);
  if (found === undefined) throw new Error(`no tiny ${architecture}`);
  return found[1];
}

describe('importGguf of every family', () => {
  const scratch = useScratchDir();
  const importing = async (bytes: Uint8Array): Promise<string> => {
    writeFileSync(scratch('m.gguf'), bytes);
    await importGguf(scratch('m.gguf'), { outDir: scratch('model') });
    return scratch('model');
  };
  const configOf = async (bytes: Uint8Array): Promise<ModelConfig> => {
    const model = await ModelDirectory.open(await importing(bytes));
    await model.close();
    return model.config;
  };

  it.each(FAMILIES)('gives back the model that was written: %s', async (_name, config) => {
    const plain = { ...config, ropeScaling: null };
    const model = await ModelDirectory.open(await importing(familyGguf(plain)));
    expect(model.config).toEqual(plain);
    for (const { name, shape, bytes } of familyTensors(config)) {
      const tensor = await model.tensor(name);
      expect(tensor.shape).toEqual(shape);
      expect(Buffer.from(bytes).equals(tensor.bytes), name).toBe(true);
    }
    await model.close();
  });

  describe("Llama 3's scaled positions", () => {
    const scaled = ({ head_dim: headDim, theta: ropeTheta }: Pick<GoldenRope, 'head_dim' | 'theta'>, factors: readonly number[]) =>
      familyGguf({ ...LLAMA, layers: 1, heads: 1, kvHeads: 1, headDim, ropeTheta, maxPositions: 131072 }, {}, [vector('rope_freqs.weight', factors)]);

    it.each(ROPES.map((rope) => ({ name: rope.model, rope })))('come back as the four numbers that the factors were made of: $name', async ({ rope }) => {
      const { ropeScaling } = await configOf(scaled(rope, rope.factors));
      expect(ropeScaling).toEqual({ factor: rope.factor, lowFreqFactor: rope.low, highFreqFactor: rope.high, originalMaxPositions: rope.original });
    });

    it('are none when all factors are 1', async () => {
      expect((await configOf(scaled(ROPES[1], ROPES[1].factors.map(() => 1)))).ropeScaling).toBeNull();
    });

    it.each<[string, (factors: number[]) => number[], RegExp]>([
      ['a factor is off by a thousandth', (factors) => factors.map((factor, i) => (i === 20 ? factor * 1.001 : factor)), /is not what a rope_type of "llama3" gives/],
      ['all pairs are slowed alike', (factors) => factors.map(() => 4), /is not what/],
      ['fast pairs are slowed', (factors) => [...factors].reverse(), /is not what/],
      ['a factor is no number', (factors) => [...factors.slice(1), Number.NaN], /is not what/],
      ['a factor is 0', (factors) => [0, ...factors.slice(1)], /is not what/],
      ['a factor is infinite', (factors) => [...factors.slice(1), Infinity], /is not what/],
      ['there are not K/2 of them', (factors) => factors.slice(1), /shape \[31\]; heads of 64 turn \[32\] pairs/],
    ])('are refused when %s', async (_what, change, problem) => {
      await expect(importing(scaled(ROPES[1], change([...ROPES[1].factors])))).rejects.toMatchObject({ code: 'model_files.gguf_invalid', message: expect.stringMatching(problem) });
      expect(readdirSync(scratch())).toEqual(['m.gguf']);
    });

    it('are refused in a Qwen model, whose scaling is another', async () => {
      await expect(importing(familyGguf(QWEN3, {}, [vector('rope_freqs.weight', Array(6).fill(1))]))).rejects.toThrow(/"rope_freqs.weight", which a plain model of architecture "qwen3" does not have/);
    });
  });

  it.each([
    ['llama-bpe', LLAMA],
    ['llama3', LLAMA],
    ['llama-v3', LLAMA],
    ['qwen2', QWEN2],
  ])('writes a tokenizer that cuts and joins as the publisher does: %s', async (pre, config) => {
    const tokenizer = await Tokenizer.load(await importing(familyGguf({ ...config, ropeScaling: null }, { 'tokenizer.ggml.pre': pre })));
    const { texts, ids } = GOLDEN_VOCABULARY;
    expect(texts.map((text) => [...tokenizer.encode(text)])).toEqual(ids[pre.startsWith('llama') ? 'llama-bpe' : pre]);
  });

  it('puts the first token before a text where the file says so, Llama 3 also where it says nothing, and never in chat text', async () => {
    const begins = async (config: ModelConfig, stated?: boolean): Promise<unknown> => {
      const dir = scratch(`model-${config.architecture}-${stated}`);
      writeFileSync(scratch('m.gguf'), familyGguf({ ...config, ropeScaling: null }, { 'tokenizer.ggml.add_bos_token': stated }));
      await importGguf(scratch('m.gguf'), { outDir: dir });
      expect([...(await Tokenizer.load(dir)).encode('the')]).not.toContain(0);
      const { post_processor } = JSON.parse(readFileSync(`${dir}/tokenizer.json`, 'utf8')) as { post_processor: { single: unknown } | null };
      return post_processor && post_processor.single;
    };
    const first = [{ SpecialToken: { id: '<|begin|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }];
    expect([await begins(LLAMA), await begins(LLAMA, true), await begins(LLAMA, false), await begins(QWEN2), await begins(QWEN2, true)]).toEqual([first, first, null, null, first]);
  });

  it('ends completions with every token that ends a turn or a text, named or not, and leaves fillings out of the vocabulary', async () => {
    const { tokens } = GOLDEN_VOCABULARY;
    const named = (...contents: string[]) => ({
      'tokenizer.ggml.tokens': { texts: [...contents, ...tokens.slice(contents.length)] },
      'tokenizer.ggml.token_type': { i32s: tokens.map((_token, id) => (id < contents.length ? 3 : id === tokens.length - 1 ? 5 : 1)) },
      'tokenizer.ggml.merges': { texts: [] },
    });
    const llama = familyGguf({ ...LLAMA, ropeScaling: null }, { ...named('<|begin_of_text|>', '<|end_of_text|>', '<|eom_id|>', '<|eot_id|>', '<|python_tag|>'), 'tokenizer.ggml.eos_token_id': { u32: 3 } });
    expect((await configOf(llama)).eosIds).toEqual([1, 2, 3]);
    expect((await Tokenizer.load(scratch('model'))).idOf('theme')).toBeUndefined();

    const qwen = familyGguf(QWEN3, { ...named('<|endoftext|>', '<|im_start|>', '<|im_end|>', '<tool_call>'), 'tokenizer.ggml.eos_token_id': { u32: 2 }, 'tokenizer.ggml.eot_token_id': { u32: 5 } });
    writeFileSync(scratch('qwen.gguf'), qwen);
    await importGguf(scratch('qwen.gguf'), { outDir: scratch('qwen') });
    const model = await ModelDirectory.open(scratch('qwen'));
    expect(model.config.eosIds).toEqual([0, 2, 5]);
    await model.close();
  });

  it.each<[string, () => Uint8Array, RegExp]>([
    ['a Qwen2 without its biases', () => familyGguf({ ...QWEN2, architecture: 'llama' }, { 'general.architecture': 'qwen2', ...qwenKeys(QWEN2) }), /lacks the tensor "blk.0.attn_q.bias"/],
    ['a Qwen3 with biases', () => familyGguf(QWEN3, {}, [vector('blk.0.attn_q.bias', [1])]), /"blk.0.attn_q.bias", which a plain model of architecture "qwen3" does not have/],
    ['norms of another width than heads', () => familyGguf(QWEN3, { 'qwen3.attention.key_length': { u32: 6 }, 'qwen3.attention.head_count': { u32: 8 }, 'qwen3.attention.head_count_kv': { u32: 4 } }), /_norm.weight" has shape \[12\]; its metadata asks for \[6\]/],
    ['a mixture of experts', () => familyGguf(QWEN2, { 'qwen2.expert_count': { u32: 4 } }), /mixture of experts/],
    ['more layers than tensors', () => familyGguf(QWEN2, { 'qwen2.block_count': { u32: 2 ** 31 - 1 } }), /block_count is 2147483647; the file holds 26 tensors in all/],
    ['no heads', () => familyGguf(QWEN2, { 'qwen2.attention.head_count': { u32: 0 } }), /head_count must be a whole number from 1/],
    ['a norm that divides by nothing', () => familyGguf(QWEN2, { 'qwen2.attention.layer_norm_rms_epsilon': { f32: Number.NaN } }), /rms_epsilon must be a number > 0/],
    ['a first token that is text', () => familyGguf(QWEN2, { 'tokenizer.ggml.add_bos_token': true, 'tokenizer.ggml.bos_token_id': { u32: 9 } }), /begins with token 9, which must be a control token/],
  ])('refuses %s and leaves nothing behind', async (_what, bytes, problem) => {
    await expect(importing(bytes())).rejects.toMatchObject({ code: 'model_files.gguf_invalid', message: expect.stringMatching(problem) });
    expect(readdirSync(scratch())).toEqual(['m.gguf']);
  });
});

/** The sizes of a Qwen2 under its own name. */
function qwenKeys(config: ModelConfig) {
  return {
    'qwen2.block_count': { u32: config.layers },
    'qwen2.context_length': { u32: config.maxPositions },
    'qwen2.embedding_length': { u32: config.hiddenSize },
    'qwen2.feed_forward_length': { u32: config.intermediateSize },
    'qwen2.attention.head_count': { u32: config.heads },
    'qwen2.attention.head_count_kv': { u32: config.kvHeads },
    'qwen2.attention.key_length': { u32: config.headDim },
  };
}
