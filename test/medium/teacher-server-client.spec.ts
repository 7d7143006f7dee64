import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sampling } from '../../src/tokens/sample.js';
import type { TargetBlock } from '../../src/tokens/target.js';
import { TeacherRefused, type TaughtSample } from '../../src/teacher-clients/teacher-client.js';
import { VllmTeacherClient } from '../../src/teacher-clients/vllm/vllm-teacher-client.js';
import type { VllmTeacherOptions } from '../../src/teacher-clients/vllm/vllm-options.js';
import type { TeacherServer } from '../../src/teacher-server/start-teacher-server.js';
import { Float64Llama, logSumExp } from '../support/float64-llama.js';
import { startTestTeacher } from '../support/teacher.js';
import { TINY_EOS_ID, TINY_MODEL, writeTinyModel } from '../support/tiny-model.js';

const KEY = 'key-of-the-test';
const K = 8;
const SAMPLING: Sampling = { temperature: 1, topP: 1, topK: 0, maxTokens: 12, stopIds: [TINY_EOS_ID] };

/** The same ids for the same arguments, none of them special. */
function someIds(length: number, seed: number): Int32Array {
  return Int32Array.from({ length }, (_, i) => 5 + ((i * i * 13 + i * 7 + seed * 29) % (TINY_MODEL.vocab - 5)));
}

/** How far log-probs may lie from float64's, in nats, by float32 and by activations in bf16. Ids that are as probable within it may stand for each other. */
const RUNTIMES = [
  { runtime: 'onnx', tolerance: 1e-4 },
  { runtime: 'native', tolerance: 0.1 },
] as const;

describe.each(RUNTIMES)('teacher server on the $runtime runtime and client over real HTTP', ({ runtime, tolerance }) => {
  let dir: string;
  let server: TeacherServer;
  let client: VllmTeacherClient;
  let llama: Float64Llama;

  const connect = (options: Partial<VllmTeacherOptions> = {}): VllmTeacherClient =>
    new VllmTeacherClient({ baseUrl: server.url, model: 'tiny', vocabSize: TINY_MODEL.vocab, apiKey: KEY, ...options });

  beforeAll(async () => {
    dir = await writeTinyModel(await mkdtemp(join(tmpdir(), 'limbeck-server-client-')));
    llama = await Float64Llama.open(dir);
    server = await startTestTeacher({ modelDir: dir, runtime, modelName: 'tiny', apiKey: KEY, maxLogprobs: 16, queueLimit: 4, retryAfterSeconds: 1 });
    // Four may wait, so a larger batch meets 429: waiting then takes no time here, though the clock goes on by it.
    let now = 0;
    const wait = (ms: number): Promise<void> => new Promise((resolve) => setImmediate(() => resolve(void (now += ms))));
    client = connect({ timing: { now: () => now, jitter: () => 0.5, wait } });
  });

  function expectNear(actual: number, expected: number): void {
    expect(Math.abs(actual - expected)).toBeLessThan(tolerance);
  }

  afterAll(async () => {
    await client.close();
    await server.close();
    await rm(dir, { recursive: true });
  });

  it('passes the probe', async () => {
    expect(await client.probe(K)).toMatchObject({ model: 'tiny', maxLength: 512, repeatable: true });
  });

  it('scores given ids with the log-probs of a float64 forward', async () => {
    const ids_T = someIds(20, 1);
    const [block] = await all(client.score([{ ids_T, from: 5 }], K));
    const reference = llama.logits(Array.from(ids_T));
    for (let r = 0; r < 15; r++) {
      const logits = reference[r + 4];
      const norm = logSumExp(logits);
      const actual = ids_T[r + 5];
      const best = logits.map((_, id) => id).sort((a, b) => logits[b] - logits[a]).slice(0, K);
      const support = idsOf(block, r);
      expect(support).toContain(actual);
      for (const id of best) if (!support.includes(id)) expect(logits[id] - logits[best[K - 1]]).toBeLessThan(2 * tolerance);
      expect(new Set(support).size).toBe(support.length);
      support.forEach((id, s) => expectNear(block.logProbs_S[block.offsets_R1[r] + s], logits[id] - norm));
      expectNear(block.actualLogProbs_R[r], logits[actual] - norm);
      expectNear(block.tail_R[r], 1 - support.reduce((sum, id) => sum + Math.exp(logits[id] - norm), 0));
    }
  });

  it('writes with targets that scoring the same ids gives again', async () => {
    const [written] = await all(client.generate([{ ids_T: someIds(9, 2), seed: 11 }], { ...SAMPLING, temperature: 0.7, topP: 0.9 }, K));
    const ids_T = Int32Array.from([...written.prompt_T, ...written.completion_T]);
    const [scored] = await all(client.score([{ ids_T, from: written.prompt_T.length }], K));
    expect(scored.actualLogProbs_R).toHaveLength(written.completion_T.length);
    written.completion_T.forEach((id, t) => {
      expect(idsOf(written.targets, t)).toContain(id);
      if (runtime === 'onnx') expect(idsOf(written.targets, t)).toEqual(idsOf(scored, t));
      expectNear(written.targets.actualLogProbs_R[t], scored.actualLogProbs_R[t]);
    });
  });

  it('gives a prompt the same answer alone as among many that overflow the queue, to the bit', async () => {
    const prompts = Array.from({ length: 24 }, (_, i) => ({ ids_T: someIds(3 + ((i * 5) % 40), i), seed: 1000 + i }));
    const together = byIndex(await all(client.generate(prompts, SAMPLING, K)));
    expect(together).toHaveLength(prompts.length);
    for (const i of [0, 7, 23]) {
      const [alone] = await all(client.generate([prompts[i]], SAMPLING, K));
      expect({ ...alone, index: i, targets: { ...alone.targets, index: i } }).toEqual(together[i]);
    }
    const sequences = together.map(({ prompt_T, completion_T }) => ({ ids_T: Int32Array.from([...prompt_T, ...completion_T]), from: prompt_T.length }));
    const scores = byIndex(await all(client.score(sequences, K)));
    const [again] = await all(client.score([sequences[7]], K));
    expect({ ...again, index: 7 }).toEqual(scores[7]);
  });

  it('answers another seed otherwise, and temperature 0 whatever the seed', async () => {
    const ask = async (seed: number, temperature: number): Promise<string> => {
      const [{ completion_T }]: TaughtSample[] = await all(client.generate([{ ids_T: someIds(6, 3), seed }], { ...SAMPLING, temperature }, K));
      return completion_T.join(' ');
    };
    expect(await ask(1, 1)).not.toBe(await ask(2, 1));
    expect(await ask(2 ** 52 + 1, 1)).toBe(await ask(2 ** 52 + 1, 1));
    expect(await ask(1, 0)).toBe(await ask(2, 0));
  });

  it('gives the ids of a text', async () => {
    const ids = await client.tokenize('Hi');
    expect(ids).toBeDefined();
    expect(ids?.length).toBeGreaterThan(0);
  });

  it.each([
    { name: 'more ids a position than the server grants', options: {}, k: 17, says: /fewer than 17 ids.*--max-logprobs 17/ },
    { name: 'a model it does not serve', options: { model: 'other' }, k: K, says: /does not serve other; it serves tiny/ },
    { name: 'a wrong key', options: { apiKey: 'wrong' }, k: K, says: /answered 401: Unauthorized. Set api_key_env/ },
  ])('refuses $name', async ({ options, k, says }) => {
    const other = connect(options);
    const error = await other.probe(k).catch((thrown: unknown) => thrown);
    await other.close();
    expect(error).toBeInstanceOf(TeacherRefused);
    expect(String(error)).toMatch(says);
  });

  it('refuses a sequence longer than the model', async () => {
    await expect(all(client.score([{ ids_T: someIds(600, 4), from: 1 }], K))).rejects.toThrow(/answered 400: .*maximum context length is 512/);
  });
});

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

function byIndex<T extends { readonly index: number }>(items: readonly T[]): T[] {
  return [...items].sort((a, b) => a.index - b.index);
}

function idsOf(block: TargetBlock, row: number): number[] {
  return Array.from(block.ids_S.subarray(block.offsets_R1[row], block.offsets_R1[row + 1]));
}
