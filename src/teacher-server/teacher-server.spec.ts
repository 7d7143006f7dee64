import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Float64Llama, logSumExp } from '../../test/support/float64-llama.js';
import { getJson, postJson } from '../../test/support/http-json.js';
import { startTestTeacher } from '../../test/support/teacher.js';
import { TINY_EOS_ID, TINY_MODEL, writeTinyModel } from '../../test/support/tiny-model.js';
import { limbeckVersion } from '../common/version.js';
import type { TeacherServer } from './start-teacher-server.js';

interface Choice {
  readonly index: number;
  readonly text: string;
  readonly finish_reason: string;
  readonly stop_reason: number | null;
  readonly token_ids: number[] | null;
  readonly prompt_token_ids: number[] | null;
  readonly logprobs: { tokens: string[]; token_logprobs: number[]; top_logprobs: Record<string, number>[]; text_offset: number[] } | null;
  readonly prompt_logprobs: (Record<string, { logprob: number; rank: number; decoded_token: string }> | null)[] | null;
}
interface Completion {
  readonly id: string;
  readonly object: string;
  readonly created: number;
  readonly model: string;
  readonly choices: Choice[];
  readonly usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number };
}

const V = TINY_MODEL.vocab;
const PROMPT = [1, 40, 90, 17, 200, 33, 7];
const EVERYTHING = { logprobs: 4, return_token_ids: true, return_tokens_as_token_ids: true };

/** How far log-probs may lie from float64's at most and in the mean, in nats: by float32, and by activations in bf16. */
const RUNTIMES = [
  { runtime: 'onnx', tolerance: 1e-4, meanTolerance: 1e-5 },
  { runtime: 'native', tolerance: 0.1, meanTolerance: 0.015 },
] as const;

function bestIds(logProbs: readonly number[], k: number): number[] {
  return logProbs.map((logProb, id) => ({ logProb, id })).sort((a, b) => b.logProb - a.logProb).slice(0, k).map(({ id }) => id);
}

function nucleus(logProbs: readonly number[], topP: number): number {
  const masses = bestIds(logProbs, V).map((id) => Math.exp(logProbs[id]));
  let sum = 0;
  return masses.findIndex((mass) => (sum += mass) >= topP) + 1;
}

describe.each(RUNTIMES)('a teacher server on the $runtime runtime', ({ runtime, tolerance, meanTolerance }) => {
  let dir: string;
  let server: TeacherServer;
  let oracle: Float64Llama;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'limbeck-teacher-server-'));
    server = await startTestTeacher({ modelDir: await writeTinyModel(join(dir, 'tiny')), runtime });
    oracle = await Float64Llama.open(join(dir, 'tiny'));
  });

  afterAll(async () => {
    await server.close();
    await rm(dir, { recursive: true });
  });

  async function complete(body: object): Promise<Completion> {
    const answer = await postJson<Completion>(`${server.url}/v1/completions`, body);
    expect(answer.status, answer.text).toBe(200);
    return answer.json;
  }

  async function completeOne(body: object): Promise<Choice> {
    const { choices } = await complete(body);
    expect(choices).toHaveLength(1);
    return choices[0];
  }

  /** Log-probs over the vocabulary after each id, in float64. */
  function referenceLogProbs(ids: readonly number[]): number[][] {
    return oracle.logits(ids).map((logits) => {
      const total = logSumExp(logits);
      return logits.map((logit) => logit - total);
    });
  }

  /** Expects the best k ids in order with their log-probs, where ids as probable within the tolerance may stand for each other. */
  function expectBest(best: readonly (readonly [id: number, logProb: number])[], reference: readonly number[], k: number): void {
    expect(new Set(best.map(([id]) => id)).size).toBe(k);
    expect(best.map(([, logProb]) => logProb)).toEqual(best.map(([, logProb]) => logProb).sort((a, b) => b - a));
    const last = reference[bestIds(reference, k)[k - 1]];
    for (const [id, logProb] of best) {
      expect(Math.abs(logProb - reference[id])).toBeLessThan(tolerance);
      expect(reference[id]).toBeGreaterThan(last - 2 * tolerance);
    }
  }

  describe('POST /v1/completions, generating', () => {
    it('takes the most probable id at temperature 0 and sends the log-probs of a float64 forward', async () => {
      const choice = await completeOne({ model: 'tiny', prompt: PROMPT, max_tokens: 6, temperature: 0, ignore_eos: true, ...EVERYTHING });
      const ids = choice.token_ids ?? [];
      expect(ids).toHaveLength(6);
      const reference = referenceLogProbs([...PROMPT, ...ids]).slice(PROMPT.length - 1);
      ids.forEach((id, t) => {
        const top = Object.entries(choice.logprobs?.top_logprobs[t] ?? {});
        expect(top[0]).toEqual([`token_id:${id}`, choice.logprobs?.token_logprobs[t]]);
        expect(choice.logprobs?.tokens[t]).toBe(`token_id:${id}`);
        expectBest(top.map(([name, logprob]) => [Number(name.replace('token_id:', '')), logprob]), reference[t], 4);
      });
    });

    it('fills in the envelope, the echo of the prompt and the usage', async () => {
      const body = await complete({ model: 'tiny', prompt: [PROMPT, [5, 6]], max_tokens: 3, ignore_eos: true, return_token_ids: true });
      expect(body).toMatchObject({ object: 'text_completion', model: 'tiny', usage: { prompt_tokens: 9, completion_tokens: 6, total_tokens: 15 } });
      expect(body.id).toMatch(/^cmpl-/);
      expect(body.choices.map(({ index, prompt_token_ids }) => [index, prompt_token_ids])).toEqual([[0, PROMPT], [1, [5, 6]]]);
      expect(body.choices[0]).toMatchObject({ finish_reason: 'length', stop_reason: null, logprobs: null, prompt_logprobs: null });
    });

    it('leaves out ids that were not asked for, writes 16 tokens and ignores fields it does not know', async () => {
      const body = await complete({ prompt: PROMPT, ignore_eos: true, temperature: 0, user: 'someone', min_p: 0, stop: [], stream: false, echo: null });
      expect(body.choices[0]).toMatchObject({ token_ids: null, prompt_token_ids: null });
      expect(body.usage.completion_tokens).toBe(16);
    });

    it('gives the same answer twice for a seed, another for another seed, and one of its own to each prompt and sample', async () => {
      const ask = (seed: number): Promise<Completion> => complete({ prompt: [PROMPT, PROMPT], n: 2, seed, max_tokens: 8, ignore_eos: true, ...EVERYTHING });
      const [first, again, other] = [await ask(7), await ask(7), await ask(8)];
      expect(again.choices).toEqual(first.choices);
      expect(other.choices).not.toEqual(first.choices);
      expect(first.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
      expect(new Set(first.choices.map(({ token_ids }) => String(token_ids))).size).toBe(4);
    });

    it('draws anew for each request without a seed', async () => {
      const ask = (): Promise<Choice> => completeOne({ prompt: PROMPT, max_tokens: 12, ignore_eos: true, return_token_ids: true });
      expect((await ask()).token_ids).not.toEqual((await ask()).token_ids);
    });

    it('sends untempered log-probs of the drawn id whatever the temperature, and the drawn id beside the best', async () => {
      const choice = await completeOne({ prompt: PROMPT, max_tokens: 12, temperature: 2, seed: 3, ignore_eos: true, ...EVERYTHING });
      const ids = choice.token_ids ?? [];
      const reference = referenceLogProbs([...PROMPT, ...ids]).slice(PROMPT.length - 1);
      ids.forEach((id, t) => {
        expect(Math.abs((choice.logprobs?.token_logprobs[t] ?? NaN) - reference[t][id])).toBeLessThan(tolerance);
        const isAmongBest = bestIds(reference[t], 4).includes(id);
        expect(Object.keys(choice.logprobs?.top_logprobs[t] ?? {})).toHaveLength(isAmongBest ? 4 : 5);
        expect(Object.entries(choice.logprobs?.top_logprobs[t] ?? {})[0]).toEqual([`token_id:${id}`, choice.logprobs?.token_logprobs[t]]);
      });
      expect(ids.some((id, t) => !bestIds(reference[t], 4).includes(id))).toBe(true);
    });

    it.each([
      { name: 'top_k', fields: { top_k: 2 }, kept: () => 2 },
      { name: 'a nucleus', fields: { top_p: 0.4 }, kept: (logProbs: readonly number[]) => nucleus(logProbs, 0.4 * Math.exp(tolerance)) },
    ])('draws within $name only', async ({ fields, kept }) => {
      const choice = await completeOne({ prompt: PROMPT, max_tokens: 24, seed: 11, ignore_eos: true, ...EVERYTHING, ...fields });
      const ids = choice.token_ids ?? [];
      const reference = referenceLogProbs([...PROMPT, ...ids]).slice(PROMPT.length - 1);
      const ranks = ids.map((id, t) => bestIds(reference[t], V).indexOf(id));
      ids.forEach((id, t) => {
        const last = bestIds(reference[t], V)[kept(reference[t]) - 1];
        expect(reference[t][id]).toBeGreaterThan(reference[t][last] - 2 * tolerance);
      });
      expect(Math.max(...ranks)).toBeGreaterThan(0);
    });

    it('stops at an id of the request, keeps it among the ids, and leaves it out of the text', async () => {
      const free = await completeOne({ prompt: PROMPT, max_tokens: 6, temperature: 0, ignore_eos: true, return_token_ids: true });
      const stop = (free.token_ids ?? [])[2];
      const choice = await completeOne({ prompt: PROMPT, max_tokens: 6, temperature: 0, ignore_eos: true, stop_token_ids: [stop], skip_special_tokens: false, ...EVERYTHING });
      const end = (free.token_ids ?? []).indexOf(stop) + 1;
      expect(choice).toMatchObject({ finish_reason: 'stop', stop_reason: stop, token_ids: free.token_ids?.slice(0, end) });
      expect(choice.logprobs?.tokens).toHaveLength(end);
      const spoken = await postJson<{ prompt: string }>(`${server.url}/detokenize`, { tokens: free.token_ids?.slice(0, end - 1) });
      expect(choice.text).toBe(spoken.json.prompt);
    });

    it("stops at the model's own end without naming it", async () => {
      const prompts = Array.from({ length: 64 }, (_, i) => [(i * 5 + 3) % V]);
      const { choices } = await complete({ prompt: prompts, seed: 5, max_tokens: 64, return_token_ids: true });
      const stopped = choices.filter(({ finish_reason }) => finish_reason === 'stop');
      expect(stopped.length).toBeGreaterThan(0);
      for (const { token_ids, stop_reason } of stopped) {
        expect(token_ids?.indexOf(TINY_EOS_ID)).toBe((token_ids?.length ?? 0) - 1);
        expect(stop_reason).toBeNull();
      }
      for (const { token_ids } of choices.filter(({ finish_reason }) => finish_reason === 'length')) expect(token_ids).not.toContain(TINY_EOS_ID);
    });

    it('reads text with the special tokens in it, one or many', async () => {
      const text = '<|im_start|>user\nthe 42';
      const { tokens } = (await postJson<{ tokens: number[] }>(`${server.url}/tokenize`, { prompt: text })).json;
      const fields = { max_tokens: 4, temperature: 0, ...EVERYTHING };
      const byIds = await completeOne({ prompt: tokens, ...fields });
      expect(byIds.prompt_token_ids).toEqual(tokens);
      expect(await completeOne({ prompt: text, ...fields })).toEqual(byIds);
      expect((await complete({ prompt: [text, text], ...fields })).choices[1]).toEqual({ ...byIds, index: 1 });
    });

    it('names tokens by their text unless asked for ids, with the offsets of those texts', async () => {
      const choice = await completeOne({ prompt: PROMPT, max_tokens: 5, temperature: 0, ignore_eos: true, logprobs: 0, skip_special_tokens: false });
      expect(choice.logprobs?.tokens.join('')).toHaveLength(choice.logprobs?.tokens.reduce((sum, token) => sum + token.length, 0) ?? -1);
      expect(choice.logprobs?.text_offset).toEqual(choice.logprobs?.tokens.map((_, t, tokens) => tokens.slice(0, t).join('').length));
      choice.logprobs?.top_logprobs.forEach((top, t) => expect(Object.keys(top)).toEqual([choice.logprobs?.tokens[t]]));
    });

    it('answers alone as among 15 others of other lengths, bit for bit', async () => {
      const prompts = Array.from({ length: 16 }, (_, i) => Array.from({ length: 3 + i * 11 }, (_, t) => (t * t * 13 + t * 7 + i * 29 + 3) % V));
      const fields = { max_tokens: 12, temperature: 0.8, ignore_eos: true, prompt_logprobs: 3, ...EVERYTHING };
      const alone: Choice[] = [];
      for (const prompt of prompts) alone.push(await completeOne({ prompt, seed: 21, ...fields }));
      const together = await Promise.all(prompts.map((prompt) => completeOne({ prompt, seed: 21, ...fields })));
      expect(together).toEqual(alone);
    });
  });

  describe('POST /v1/completions, scoring', () => {
    const LONG = Array.from({ length: 300 }, (_, t) => (t * t * 31 + t * 17 + 5) % V);

    it('sends the distribution that predicts each id of a prompt of several chunks: the actual id first, the best k, ranks, log-probs of a float64 forward', async () => {
      const k = 6;
      const { text } = await postJson<Completion>(`${server.url}/v1/completions`, { prompt: LONG, max_tokens: 1, temperature: 0, prompt_logprobs: k });
      const positions = (JSON.parse(text) as Completion).choices[0].prompt_logprobs ?? [];
      const reference = referenceLogProbs(LONG);
      expect(positions).toHaveLength(LONG.length);
      expect(positions[0]).toBeNull();
      const errors: number[] = [];
      positions.slice(1).forEach((position, t) => {
        const actual = LONG[t + 1];
        const entries = Object.entries(position ?? {}).map(([id, { logprob, rank }]) => ({ id: Number(id), logprob, rank }));
        const best = entries.filter(({ rank }) => rank <= k).sort((one, other) => one.rank - other.rank);
        expectBest(best.map(({ id, logprob }) => [id, logprob]), reference[t], k);
        expect(entries.filter((entry) => !best.includes(entry)).map(({ id }) => id)).toEqual(best.some(({ id }) => id === actual) ? [] : [actual]);
        for (const { id, logprob, rank } of entries) {
          errors.push(Math.abs(logprob - reference[t][id]));
          // Ids as probable within the tolerance may change places.
          expect(rank).toBeGreaterThan(reference[t].filter((other) => other > reference[t][id] + 2 * tolerance).length);
          expect(rank).toBeLessThanOrEqual(reference[t].filter((other) => other > reference[t][id] - 2 * tolerance).length);
        }
      });
      expect(Math.max(...errors)).toBeLessThan(tolerance);
      expect(errors.reduce((sum, error) => sum + error, 0) / errors.length).toBeLessThan(meanTolerance);
      const firstKeys = [...text.matchAll(/\{"(\d+)":\{"logprob"/g)].map((match) => Number(match[1]));
      expect(firstKeys).toEqual(LONG.slice(1));
    });

    it('gives generated ids the log-probs they were generated with', async () => {
      const written = await completeOne({ prompt: PROMPT, max_tokens: 20, seed: 9, ignore_eos: true, ...EVERYTHING });
      const ids = [...PROMPT, ...(written.token_ids ?? [])];
      const scored = await completeOne({ prompt: ids, max_tokens: 1, temperature: 0, prompt_logprobs: 4 });
      written.token_ids?.forEach((id, t) => {
        const position = scored.prompt_logprobs?.[PROMPT.length + t];
        for (const [name, logprob] of Object.entries(written.logprobs?.top_logprobs[t] ?? {})) {
          expect(Math.abs((position?.[name.replace('token_id:', '')].logprob ?? NaN) - logprob)).toBeLessThan(tolerance);
        }
        expect(position?.[String(id)].decoded_token).toBeDefined();
      });
    });

    it('sends scores from prompt_logprobs_start on, with the bits they have among all', async () => {
      const ask = { prompt: LONG, max_tokens: 1, temperature: 0, prompt_logprobs: 3 };
      const whole = (await completeOne(ask)).prompt_logprobs ?? [];
      for (const start of [1, 2, 17, LONG.length - 1, LONG.length]) {
        const part = (await completeOne({ ...ask, prompt_logprobs_start: start })).prompt_logprobs;
        expect(part).toEqual(whole.map((position, t) => (t < start ? null : position)));
      }
    });

    it('sends the actual id alone for prompt_logprobs 0, and the same scores in every choice of a prompt', async () => {
      const { choices } = await complete({ prompt: [PROMPT, [3, 4]], n: 2, seed: 1, max_tokens: 2, ignore_eos: true, prompt_logprobs: 0 });
      expect(choices[0].prompt_logprobs?.slice(1).map((position) => Object.keys(position ?? {}))).toEqual(PROMPT.slice(1).map((id) => [String(id)]));
      expect(choices[1].prompt_logprobs).toEqual(choices[0].prompt_logprobs);
      expect(choices[3].prompt_logprobs?.map((position) => position && Object.keys(position))).toEqual([null, ['4']]);
    });

    it('gives the same bits twice', async () => {
      const ask = { prompt: [LONG, PROMPT], max_tokens: 1, temperature: 0, prompt_logprobs: 64 };
      expect((await complete(ask)).choices).toEqual((await complete(ask)).choices);
    });
  });

  describe('startTeacherServer', () => {
    it('refuses to promise more positions than the model has', async () => {
      await expect(startTestTeacher({ modelDir: join(dir, 'tiny'), runtime, maxModelLen: 513 })).rejects.toMatchObject({ code: 'config.teacher_settings_invalid' });
    });

    it('refuses a port that is taken', async () => {
      await expect(startTestTeacher({ modelDir: join(dir, 'tiny'), runtime, port: server.port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
    });
  });

  describe('the other routes', () => {
    it('names the model and its longest sequence', async () => {
      const { status, json } = await getJson<{ object: string; data: object[] }>(`${server.url}/v1/models`);
      expect(status).toBe(200);
      expect(json).toMatchObject({ object: 'list', data: [{ id: 'tiny', object: 'model', root: 'tiny', parent: null, max_model_len: 512 }] });
    });

    it('tokenizes a text and a chat, and back', async () => {
      const chat = await postJson<{ count: number; tokens: number[]; max_model_len: number; token_strs: string[] | null }>(`${server.url}/tokenize`, {
        model: 'tiny',
        messages: [{ role: 'user', content: 'in the 2024' }],
        return_token_strs: true,
      });
      expect(chat.status).toBe(200);
      const rendered = '<|im_start|>user\nin the 2024<|im_end|>\n<|im_start|>assistant\n';
      expect(chat.json).toMatchObject({ count: chat.json.tokens.length, max_model_len: 512 });
      expect(chat.json.token_strs?.join('')).toBe(rendered);
      const text = await postJson<{ tokens: number[]; token_strs: null }>(`${server.url}/tokenize`, { prompt: rendered });
      expect(text.json).toMatchObject({ tokens: chat.json.tokens, token_strs: null });
      expect((await postJson(`${server.url}/detokenize`, { tokens: chat.json.tokens })).json).toEqual({ prompt: rendered });
      const closed = await postJson<{ tokens: number[] }>(`${server.url}/tokenize`, { messages: [{ role: 'user', content: 'in the 2024' }], add_generation_prompt: false });
      expect(chat.json.tokens.slice(0, closed.json.tokens.length)).toEqual(closed.json.tokens);
      expect(closed.json.tokens.length).toBeLessThan(chat.json.tokens.length);
    });

    it('is healthy, names its version and counts what it was asked', async () => {
      const health = await getJson(`${server.url}/health`);
      expect([health.status, health.text]).toEqual([200, '']);
      expect((await getJson(`${server.url}/version`)).json).toEqual({ version: limbeckVersion() });
      const before = await metrics();
      await complete({ prompt: [PROMPT, PROMPT], max_tokens: 2, ignore_eos: true });
      await complete({ prompt: PROMPT, max_tokens: 1, prompt_logprobs: 1 });
      const after = await metrics();
      const grown = (name: string): number => (after.get(`limbeck_teacher_${name}`) ?? NaN) - (before.get(`limbeck_teacher_${name}`) ?? NaN);
      expect(['requests_total', 'sequences_generated_asked_total', 'sequences_generated_total', 'sequences_scored_asked_total', 'sequences_scored_total'].map(grown)).toEqual([2, 2, 2, 1, 1]);
      expect([grown('prompt_tokens_total'), grown('completion_tokens_total'), after.get('limbeck_teacher_sequences_waiting'), after.get('limbeck_teacher_sequences_running')]).toEqual([21, 5, 0, 0]);
    });
  });

  async function metrics(): Promise<Map<string, number>> {
    const { text, headers } = await getJson(`${server.url}/metrics`);
    expect(headers.get('content-type')).toContain('text/plain; version=0.0.4');
    return new Map(text.split('\n').filter((line) => line && !line.startsWith('#')).map((line) => [line.split(' ')[0], Number(line.split(' ')[1])]));
  }
});

describe('a prompt of several chunks of the native runtime', () => {
  it('is scored as onnxruntime scores it, without a limit but that of the model', async () => {
    const modelDir = await writeTinyModel(await mkdtemp(join(tmpdir(), 'limbeck-teacher-long-')));
    const config = JSON.parse(await readFile(join(modelDir, 'config.json'), 'utf8')) as object;
    await writeFile(join(modelDir, 'config.json'), JSON.stringify({ ...config, max_position_embeddings: 4096 }));
    const prompt = Array.from({ length: 2200 }, (_, t) => (t * t * 31 + t * 17 + 5) % V);
    const scored = async (settings: object): Promise<{ maxLength: number; logProbs: number[] }> => {
      const server = await startTestTeacher({ modelDir, ...settings });
      const answer = await postJson<Completion>(`${server.url}/v1/completions`, { prompt, max_tokens: 1, temperature: 0, prompt_logprobs: 0 });
      const models = await getJson<{ data: { max_model_len: number }[] }>(`${server.url}/v1/models`);
      await server.close();
      const logProbs = prompt.slice(1).map((id, t) => answer.json.choices[0].prompt_logprobs?.[t + 1]?.[String(id)].logprob ?? NaN);
      return { maxLength: models.json.data[0].max_model_len, logProbs };
    };
    const native = await scored({ runtime: 'native' });
    const onnx = await scored({ runtime: 'onnx', maxModelLen: 2201 });
    await rm(modelDir, { recursive: true });
    expect(native.maxLength).toBe(4096);
    const errors = native.logProbs.map((logProb, t) => Math.abs(logProb - onnx.logProbs[t]));
    expect(Math.max(...errors)).toBeLessThan(0.15);
    // Ids of the second chunk, which reads what the first one left, are predicted as well as those of the first.
    for (const part of [errors.slice(0, 2048), errors.slice(2048)]) expect(part.reduce((sum, error) => sum + error, 0) / part.length).toBeLessThan(0.015);
  });
});
