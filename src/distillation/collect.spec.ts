import { describe, expect, it } from 'vitest';
import { TeacherClient, type TaughtSample, type TeacherCapabilities, type TeacherPrompt } from '../teacher-clients/teacher-client.js';
import type { Sampling } from '../tokens/sample.js';
import { MemoryStore } from '../../test/support/memory-store.js';
import { collect, type CollectJob } from './collect.js';

/** Answers each prompt with what `say` gives for its first id, and remembers the prompts. */
class ScriptedTeacher extends TeacherClient {
  readonly asked: TeacherPrompt[] = [];
  constructor(private readonly say: (id: number) => number[], private readonly failsAfter = Infinity) {
    super();
  }
  async probe(): Promise<TeacherCapabilities> {
    throw new Error('not asked here');
  }
  async tokenize(): Promise<undefined> {
    return undefined;
  }
  async *generate(prompts: readonly TeacherPrompt[], sampling: Sampling): AsyncGenerator<TaughtSample> {
    for (const [index, prompt] of [...prompts.entries()].reverse()) {
      if (this.asked.length === this.failsAfter) throw new Error('the teacher went away');
      this.asked.push(prompt);
      const completion_T = Int32Array.from(this.say(prompt.ids_T[0]));
      const rows = completion_T.length;
      const finish = sampling.stopIds.includes(completion_T[rows - 1]) || completion_T[rows - 1] > 900 ? 'stop' : 'length';
      const logProbs_S = new Float32Array(rows).fill(-0.5);
      const targets = { index, offsets_R1: Int32Array.from({ length: rows + 1 }, (_, row) => row), ids_S: completion_T.slice(), logProbs_S, tail_R: new Float32Array(rows).fill(0.3), actualLogProbs_R: logProbs_S };
      yield { index, prompt_T: prompt.ids_T, completion_T, finish, targets };
    }
  }
  async *score(): AsyncGenerator<never> {
    throw new Error('not asked here');
  }
  async close(): Promise<void> {}
}

const job = (teacher: TeacherClient, store: MemoryStore): CollectJob => ({
  store,
  meetTeacher: async () => teacher,
  clock: () => 0,
  identity: { spec: 's', student: 'm', prompts: 'p', heldOut: 'h', teacher: 't', tokenizer: 'k', template: 'c' },
  name: 'train',
  prompts: Array.from({ length: 50 }, (_, index) => ({ ids_T: Int32Array.of(index, 5) })),
  samplesPerPrompt: 1,
  sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: 4, stopIds: [2] },
  k: 1,
  seed: 7,
  stream: 1,
  emptyAnswers: 'drop',
  onAnswered: () => undefined,
});
/** Every fifth prompt gets an empty answer, every seventh one that is cut off. */
const mixed = (id: number) => (id % 5 === 0 ? [2] : id % 7 === 0 ? [8, 8, 8, 8] : [8, 2]);

describe('collect', () => {
  it('keeps answers in the order of prompts, drops empty ones and counts them', async () => {
    const { samples, asked, empty, account } = await collect(job(new ScriptedTeacher(mixed), new MemoryStore()));

    expect([asked, empty, samples.length]).toEqual([50, 10, 40]);
    expect(samples.map(({ origin }) => origin)).toEqual(Array.from({ length: 50 }, (_, index) => index).filter((index) => index % 5 !== 0));
    expect(samples.filter(({ finish }) => finish === 'length').map(({ origin }) => origin)).toEqual([7, 14, 21, 28, 42, 49]);
    expect(account).toMatchObject({ teacher_calls: 50, tokens: 40 * 2 + 34 * 2 + 6 * 4 });
  });

  it('counts answers as they come', async () => {
    const counts: number[] = [];
    await collect({ ...job(new ScriptedTeacher(mixed), new MemoryStore()), onAnswered: (count) => counts.push(count) });

    expect([...new Set(counts)]).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
  });

  it('keeps empty answers where asked to', async () => {
    const { samples, empty } = await collect({ ...job(new ScriptedTeacher(mixed), new MemoryStore()), emptyAnswers: 'keep' });

    expect([samples.length, empty]).toEqual([50, 0]);
  });

  it('goes on behind the last committed shard', async () => {
    const store = new MemoryStore();
    const leaving = new ScriptedTeacher(mixed, 40);
    await expect(collect(job(leaving, store))).rejects.toThrow('went away');
    expect(await store.list('shards/')).toEqual(['shards/train-00000.safetensors']);

    const staying = new ScriptedTeacher(mixed);
    const { samples } = await collect(job(staying, store));

    expect(staying.asked.length).toBe(18);
    expect(staying.asked.every(({ ids_T }) => ids_T[0] >= 32)).toBe(true);
    expect(samples).toEqual((await collect(job(new ScriptedTeacher(mixed), new MemoryStore()))).samples);
  });

  it('gives every answer a seed of its own, the same each time', async () => {
    const teachers = [new ScriptedTeacher(mixed), new ScriptedTeacher(mixed)];
    for (const teacher of teachers) await collect({ ...job(teacher, new MemoryStore()), samplesPerPrompt: 2 });
    const [first, second] = teachers.map(({ asked }) => asked.map(({ seed }) => seed));

    expect(new Set(first).size).toBe(100);
    expect(second).toEqual(first);
  });

  it('refuses a shard that answers other questions', async () => {
    const store = new MemoryStore();
    await collect(job(new ScriptedTeacher(mixed), store));

    await expect(collect({ ...job(new ScriptedTeacher(mixed), store), seed: 8 })).rejects.toMatchObject({ code: 'distillation.resume_mismatch' });
  });

  it('says so when every answer is empty, and when the teacher stops where the student would not', async () => {
    await expect(collect(job(new ScriptedTeacher(() => [2]), new MemoryStore()))).rejects.toMatchObject({ code: 'distillation.no_samples' });
    await expect(collect(job(new ScriptedTeacher(() => [8, 901]), new MemoryStore()))).rejects.toThrow(/stopped at id 901, which is not in the student's set \(2\)/);
  });
});
