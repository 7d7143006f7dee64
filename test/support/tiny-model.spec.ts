import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ChatTemplate } from '../../src/model-files/chat-template.js';
import { Tokenizer } from '../../src/model-files/tokenizer.js';
import { TINY_MODEL, writeTinyModel } from './tiny-model.js';
import { TINY_TOKENIZER_SIZE } from './tiny-tokenizer.js';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'limbeck-tiny-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

it('gives the same options the same bytes and another seed others', async () => {
  const weights = async (name: string, seed: number): Promise<Buffer> => readFile(join(await writeTinyModel(join(root, name), { seed }), 'model.safetensors'));
  const first = await weights('first', 5);
  expect((await weights('again', 5)).equals(first)).toBe(true);
  expect((await weights('other', 6)).equals(first)).toBe(false);
});

it('has a tokenizer of its own whose ids the model knows', async () => {
  const dir = await writeTinyModel(join(root, 'tokenizer'));
  const tokenizer = await Tokenizer.load(dir);
  expect(tokenizer.vocabSize).toBe(TINY_TOKENIZER_SIZE);
  expect(TINY_TOKENIZER_SIZE).toBeLessThanOrEqual(TINY_MODEL.vocab);
  expect([...tokenizer.encode('2024')]).toHaveLength(4);
  // <|im_start|>, "user" as bytes offset by the three special tokens with "er" merged, newline.
  const text = (await ChatTemplate.load(dir)).render([{ role: 'user', content: 'Is it Zürich?' }], { addGenerationPrompt: 'add' });
  const ids = tokenizer.encode(text);
  expect([...ids.subarray(0, 5)]).toEqual([1, 120, 118, 267, 13]);
  expect(tokenizer.decode(ids, { skipSpecial: 'keep' })).toBe(text);
});

it('refuses a vocabulary smaller than its tokenizer', async () => {
  await expect(writeTinyModel(join(root, 'small'), { vocab: 100 })).rejects.toThrow(/needs a vocabulary/);
});
