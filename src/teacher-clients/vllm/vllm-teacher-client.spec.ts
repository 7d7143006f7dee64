import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FAKE_VOCAB, FakeTeacher, logProbOf, rankedAfter } from '../../../test/support/fake-teacher/fake-teacher.js';
import type { Sampling } from '../../tokens/sample.js';
import type { TargetBlock } from '../../tokens/target.js';
import type { TaughtSample } from '../teacher-client.js';
import { VllmTeacherClient } from './vllm-teacher-client.js';

const SAMPLING: Sampling = { temperature: 0.7, topP: 0.9, topK: 12, maxTokens: 4, stopIds: [7] };

describe('the vLLM client with an honest teacher', () => {
  let fake: FakeTeacher;
  let client: VllmTeacherClient;

  beforeEach(async () => {
    fake = await FakeTeacher.start();
    client = new VllmTeacherClient({ baseUrl: `${fake.baseUrl}/v1/`, model: 'fake', vocabSize: FAKE_VOCAB, apiKey: 'secret' });
  });

  afterEach(async () => {
    await client.close();
    await fake.close();
  });

  const scoreOne = async (ids: readonly number[], { from = 1, k = 3 } = {}): Promise<TargetBlock> => {
    const [block] = await all(client.score([{ ids_T: Int32Array.from(ids), from }], k));
    return block;
  };

  it('gives the k best ids in order, appends the actual one, and counts the rest as tail', async () => {
    const ids = [1, 30, 31, 2];
    const block = await scoreOne(ids);
    ids.slice(1).forEach((actual, r) => {
      const ranked = rankedAfter(ids.slice(0, r + 1));
      const support = ranked.filter(({ rank }) => rank <= 3);
      const own = ranked.find(({ id }) => id === actual);
      if (own && own.rank > 3) support.push(own);
      const row = block.ids_S.slice(block.offsets_R1[r], block.offsets_R1[r + 1]);
      expect(Array.from(row)).toEqual(support.map(({ id }) => id));
      support.forEach(({ logProb }, s) => expect(block.logProbs_S[block.offsets_R1[r] + s]).toBe(Math.fround(logProb)));
      expect(block.tail_R[r]).toBeCloseTo(1 - support.reduce((sum, { logProb }) => sum + Math.exp(logProb), 0), 6);
      expect(block.actualLogProbs_R[r]).toBe(Math.fround(logProbOf(ranked, actual)));
    });
    expect(Array.from(block.offsets_R1)).toEqual([0, 4, 8, 11]);
  });

  it('gives rows from the one asked for to the last', async () => {
    const whole = await scoreOne([1, 30, 31, 2, 9]);
    const rest = await scoreOne([1, 30, 31, 2, 9], { from: 3 });
    expect(Array.from(rest.actualLogProbs_R)).toEqual(Array.from(whole.actualLogProbs_R.slice(2)));
    expect(Array.from(rest.ids_S)).toEqual(Array.from(whole.ids_S.slice(whole.offsets_R1[2])));
  });

  it('numbers each block by its sequence', async () => {
    const sequences = [[1, 2], [3, 4, 5], [6, 7]].map((ids) => ({ ids_T: Int32Array.from(ids), from: 1 }));
    const blocks = await all(client.score(sequences, 2));
    blocks.sort((a, b) => a.index - b.index);
    expect(blocks.map(({ index, tail_R }) => [index, tail_R.length])).toEqual([[0, 1], [1, 2], [2, 1]]);
  });

  it('sends ids, every sampling field and the key', async () => {
    await all(client.generate([{ ids_T: Int32Array.of(1, 2), seed: 2 ** 52 + 1 }], SAMPLING, 5));
    await scoreOne([1, 2, 3]);
    const shared = {
      model: 'fake', n: 1, stream: false, min_p: 0, repetition_penalty: 1, presence_penalty: 0, frequency_penalty: 0,
      return_token_ids: true, return_tokens_as_token_ids: true, skip_special_tokens: false,
    };
    expect(fake.received.map(({ method, path, authorization }) => [method, path, authorization])).toEqual(Array(2).fill(['POST', '/v1/completions', 'Bearer secret']));
    expect(fake.received[0].body).toEqual({ ...shared, prompt: [1, 2], max_tokens: 4, temperature: 0.7, top_p: 0.9, top_k: 12, seed: 2 ** 52 + 1, stop_token_ids: [7], logprobs: 5 });
    expect(fake.received[1].body).toEqual({ ...shared, prompt: [1, 2, 3], max_tokens: 1, temperature: 0, top_p: 1, top_k: 0, seed: 0, stop_token_ids: [], prompt_logprobs: 3, prompt_logprobs_start: 1 });
  });

  it('gives what the teacher wrote, the stop id included, with a target for each id', async () => {
    const prompts = [{ ids_T: Int32Array.of(1, 2), seed: 1 }];
    const [stopped]: TaughtSample[] = await all(client.generate(prompts, SAMPLING, 2));
    expect([Array.from(stopped.prompt_T), Array.from(stopped.completion_T), stopped.finish]).toEqual([[1, 2], [5, 6, 7], 'stop']);
    const expected = [[1, 2], [1, 2, 5], [1, 2, 5, 6]].map((prefix, t) => Math.fround(logProbOf(rankedAfter(prefix), 5 + t)));
    expect(Array.from(stopped.targets.actualLogProbs_R)).toEqual(expected);
    const [cut] = await all(client.generate(prompts, { ...SAMPLING, stopIds: [] }, 2));
    expect([Array.from(cut.completion_T), cut.finish]).toEqual([[5, 6, 7, 8], 'length']);
  });

  it('takes the actual id by its key, though JavaScript orders such keys by number', async () => {
    fake.next('/v1/completions', {
      kind: 'changed',
      change: (choice) => {
        choice.prompt_logprobs = [null, { '9': { logprob: -2.5, rank: 7, decoded_token: 'x' }, '2': { logprob: -1.5, rank: 2, decoded_token: 'y' }, '30': { logprob: -0.5, rank: 1, decoded_token: 'z' } }];
      },
    });
    const block = await scoreOne([1, 9], { k: 2 });
    expect(Array.from(block.ids_S)).toEqual([30, 2, 9]);
    expect(block.actualLogProbs_R[0]).toBe(-2.5);
  });

  it('counts padded ids of the head in the tail', async () => {
    const entry = (logprob: number, rank: number): { logprob: number; rank: number; decoded_token: string } => ({ logprob, rank, decoded_token: '' });
    fake.next('/v1/completions', { kind: 'changed', change: (choice) => (choice.prompt_logprobs = [null, { '4': entry(-0.5, 1), '31': entry(-8, 2), '30': entry(-9, 3) }]) });
    const narrow = new VllmTeacherClient({ baseUrl: fake.baseUrl, model: 'fake', vocabSize: 31 });
    const [block] = await all(narrow.score([{ ids_T: Int32Array.of(1, 30), from: 1 }], 2));
    await narrow.close();
    expect(Array.from(block.ids_S)).toEqual([4, 30]);
    expect(block.tail_R[0]).toBeCloseTo(1 - Math.exp(-0.5) - Math.exp(-9), 6);
  });

  it('takes -9999 for the log of 0: dropped among the best, harmless for the actual id', async () => {
    const entry = (logprob: number, rank: number): { logprob: number; rank: number; decoded_token: string } => ({ logprob, rank, decoded_token: '' });
    fake.next('/v1/completions', { kind: 'changed', change: (choice) => (choice.prompt_logprobs = [null, { '4': entry(0, 1), '2': entry(-9999, 2), '9': entry(-9999, 3) }]) });
    const block = await scoreOne([1, 9], { k: 2 });
    expect(Array.from(block.ids_S)).toEqual([4, 9]);
    expect(Array.from(block.logProbs_S)).toEqual([0, -100]);
    expect(block.tail_R[0]).toBe(0);
  });

  it('accepts an actual id that ties with the last of the best', async () => {
    const entry = (logprob: number, rank: number): { logprob: number; rank: number; decoded_token: string } => ({ logprob, rank, decoded_token: '' });
    fake.next('/v1/completions', { kind: 'changed', change: (choice) => (choice.prompt_logprobs = [null, { '4': entry(-1, 1), '2': entry(-2, 2), '9': entry(-2, 3) }]) });
    expect(Array.from((await scoreOne([1, 9], { k: 2 })).ids_S)).toEqual([4, 2, 9]);
  });

  it('believes a teacher that does not echo the prompt', async () => {
    fake.next('/v1/completions', { kind: 'changed', change: (choice) => delete choice.prompt_token_ids });
    expect((await scoreOne([1, 2])).tail_R).toHaveLength(1);
  });

  it('learns what the teacher is, and that it answers alike twice', async () => {
    const capabilities = await client.probe(8);
    expect(capabilities).toMatchObject({ model: 'fake', maxLength: 512, repeatable: true });
    expect(capabilities.fingerprint).toMatch(/^[0-9a-f]{64}$/);
    expect(fake.received.map(({ path }) => path)).toEqual(['/v1/models', '/v1/completions', '/v1/completions']);
    expect((await client.probe(4)).fingerprint).toBe(capabilities.fingerprint);
  });

  it('notices a teacher whose scores of one sequence differ, and leaves them out of the fingerprint', async () => {
    const nudge = (by: number): void => {
      fake.next('/v1/completions', {
        kind: 'changed',
        change: ({ prompt_logprobs }) => Object.values(prompt_logprobs?.[1] ?? {}).forEach((entry) => (entry.logprob -= by)),
      });
    };
    nudge(0);
    nudge(1e-6);
    const first = await client.probe(4);
    nudge(0);
    nudge(2e-6);
    expect(first.repeatable).toBe(false);
    expect((await client.probe(4)).fingerprint).toBe(first.fingerprint);
  });

  it('tells models apart by their scores', async () => {
    const honest = await client.probe(4);
    const other = (): void =>
      fake.next('/v1/completions', {
        kind: 'changed',
        change: ({ prompt_logprobs }) => prompt_logprobs?.forEach((row) => Object.values(row ?? {}).forEach((entry) => (entry.logprob -= 0.5))),
      });
    other();
    other();
    const changed = await client.probe(4);
    expect(changed.repeatable).toBe(true);
    expect(changed.fingerprint).not.toBe(honest.fingerprint);
  });

  it('asks for the ids of a text, and says when the server has no such route', async () => {
    expect(Array.from((await client.tokenize('hi')) ?? [])).toEqual([11, 12]);
    expect(fake.received[0]).toMatchObject({ path: '/tokenize', body: { model: 'fake', prompt: 'hi', add_special_tokens: false } });
    fake.next('/tokenize', { kind: 'status', status: 404, body: '{"detail":"Not Found"}' });
    expect(await client.tokenize('hi')).toBeUndefined();
  });
});

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
