import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { useScratchDir } from '../../test/support/scratch-dir.js';
import { Tokenizer } from './tokenizer.js';

interface GoldenText {
  readonly text: string;
  readonly ids: number[];
  readonly kept: string;
  readonly skipped: string;
}

/** From Hugging Face's Rust tokenizers; test/golden/tokenizer/make_tokenizer_golden.py makes them. */
const GOLDEN: { tokenizer: Record<string, unknown> & { model: object; added_tokens: object[] }; texts: GoldenText[] } = readGolden('tokenizer-golden.json');
const SMOLLM2: { texts: GoldenText[] } = readGolden('smollm2-ids.json');
const SMOLLM2_DIR = new URL('../../models/smollm2-135m-instruct', import.meta.url).pathname;

function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../test/golden/tokenizer/${name}`, import.meta.url), 'utf8'));
}

describe('Tokenizer', () => {
  const scratch = useScratchDir();
  const load = (json: object = GOLDEN.tokenizer, config?: object): Promise<Tokenizer> => {
    writeFileSync(scratch('tokenizer.json'), JSON.stringify(json));
    if (config !== undefined) writeFileSync(scratch('tokenizer_config.json'), JSON.stringify(config));
    return Tokenizer.load(scratch());
  };

  it.each(GOLDEN.texts)('encodes and decodes as the Rust library does: $text', async ({ text, ids, kept, skipped }) => {
    const tokenizer = await load();
    expect([...tokenizer.encode(text)]).toEqual(ids);
    expect(tokenizer.decode(ids, { skipSpecial: 'keep' })).toBe(kept);
    expect(tokenizer.decode(Int32Array.from(ids), { skipSpecial: 'skip' })).toBe(skipped);
  });

  it('knows its ids, added tokens and size', async () => {
    const tokenizer = await load();
    expect(tokenizer.addedTokens).toEqual(new Map([['<|endoftext|>', 0], ['<|im_start|>', 1], ['<|im_end|>', 2], ['<repo_name>', tokenizer.vocabSize - 1]]));
    expect(tokenizer.vocabSize).toBe(GOLDEN.texts.flatMap(({ ids }) => ids).reduce((most, id) => Math.max(most, id), 0) + 1);
    expect(tokenizer.idOf('<|im_end|>')).toBe(2);
    expect(tokenizer.idOf('Ġ')).toBe(tokenizer.encode(' ')[0]);
    expect(tokenizer.idOf('no such token')).toBeUndefined();
  });

  it('adds nothing even when the file prepends a token, and ignores clean-up of spaces', async () => {
    const post_processor = { type: 'TemplateProcessing', single: [{ SpecialToken: { id: '<|im_start|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }], pair: [], special_tokens: { '<|im_start|>': { id: '<|im_start|>', ids: [1], tokens: ['<|im_start|>'] } } };
    const tokenizer = await load({ ...GOLDEN.tokenizer, post_processor }, { add_bos_token: true, bos_token: '<|im_start|>', clean_up_tokenization_spaces: true });
    const text = 'a . b , c';
    expect(tokenizer.encode(text)).not.toContain(1);
    expect(tokenizer.decode(tokenizer.encode(text), { skipSpecial: 'keep' })).toBe(text);
  });

  it('leaves out ids it does not make, and gives no text for no ids', async () => {
    const tokenizer = await load();
    expect(tokenizer.decode([tokenizer.encode('9')[0], tokenizer.vocabSize + 5], { skipSpecial: 'keep' })).toBe('9');
    expect(tokenizer.decode([], { skipSpecial: 'keep' })).toBe('');
    expect(tokenizer.decode([1, 2], { skipSpecial: 'skip' })).toBe('');
  });

  it.each<[string, object, RegExp]>([
    ['another model', { model: { ...GOLDEN.tokenizer.model, type: 'Unigram' } }, /model\.type.*reads BPE/],
    ['no vocabulary', { model: { type: 'BPE', merges: [] } }, /model\.vocab: must map each token to its own id/],
    ['an id that stands twice', { model: { type: 'BPE', vocab: { a: 0, b: 0 }, merges: [] } }, /must map each token to its own id/],
    ['an absurd id', { added_tokens: [{ id: 2 ** 40, content: 'x' }] }, /added_tokens\.0\.id/],
    ['an added token that must stand alone', { added_tokens: [{ id: 3, content: 'x', single_word: true }] }, /added_tokens\.0\.single_word/],
    ['a sequence of nothing', { pre_tokenizer: { type: 'Sequence' } }, /must hold a list pretokenizers/],
    ['an unknown pre-tokenizer', { pre_tokenizer: { type: 'Telepathy' } }, /Telepathy/],
  ])('refuses %s', async (_what, change, problem) => {
    await expect(load({ ...GOLDEN.tokenizer, ...change })).rejects.toMatchObject({ code: 'model_files.tokenizer_invalid', message: expect.stringMatching(problem) });
  });

  it('leaves out what its vocabulary cannot spell, as the Rust library does, and refuses it when the unknown token has no id', async () => {
    const model = { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] };
    expect([...(await load({ model })).encode('acb')]).toEqual([0, 1]);
    const tokenizer = await load({ model: { ...model, unk_token: '<unk>' } });
    expect([...tokenizer.encode('ab')]).toEqual([0, 1]);
    expect(() => tokenizer.encode('acb')).toThrow(/no id for "<unk>"/);
  });

  it('says which file is missing', async () => {
    await expect(Tokenizer.load(scratch())).rejects.toMatchObject({ code: 'model_files.file_missing' });
  });
});

describe('Tokenizer on SmolLM2-135M-Instruct', () => {
  it('gives the ids of Hugging Face transformers', async ({ skip }) => {
    if (!existsSync(SMOLLM2_DIR)) {
      console.warn('skipped: models/smollm2-135m-instruct is absent; "limbeck models pull smollm2-135m-instruct" makes it');
      skip();
    }
    const tokenizer = await Tokenizer.load(SMOLLM2_DIR);
    for (const { text, ids, kept } of SMOLLM2.texts) {
      expect([...tokenizer.encode(text)], text).toEqual(ids);
      expect(tokenizer.decode(ids, { skipSpecial: 'keep' })).toBe(kept);
    }
  });
});
