import { describe, expect, it } from 'vitest';
import { drawUniform } from '../../../src/common/philox.js';
import type { Completion, SampleRequest } from '../../../src/engine/engine.js';
import type { TestedEngine } from '../../support/engines.js';
import { listed } from '../../support/scored-batch.js';
import { STUDENT, type Contract } from './contract.js';

export const REQUEST: SampleRequest = {
  prompts: [
    { ids_T: Int32Array.of(7, 31, 5), sample: 4 },
    { ids_T: Int32Array.of(7, 31, 5), sample: 5 },
    { ids_T: Int32Array.of(44), sample: 6 },
    { ids_T: Int32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9), sample: 4 },
  ],
  sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: 12, stopIds: [] },
  key: { seed: 2 ** 40 + 12345, stage: 3, step: 17 },
};

/** Completions in the order of the prompts. */
async function sampleAll(engine: TestedEngine, change: Partial<SampleRequest> = {}, sampling: Partial<SampleRequest['sampling']> = {}): Promise<Completion[]> {
  const completions = await listed(engine.sample({ ...REQUEST, ...change, sampling: { ...REQUEST.sampling, ...sampling } }));
  return completions.sort((a, b) => a.index - b.index);
}

const idsOf = (completions: readonly Completion[]): number[][] => completions.map(({ ids_T }) => [...ids_T]);

/** `sample`. */
export function samplingContract({ open, openFlat, bounds }: Contract): void {
  it('answers every prompt once, in the length asked for', async () => {
    const completions = await sampleAll(await open());
    expect(completions.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    for (const { ids_T, logProbs_T, finish } of completions) expect([ids_T.length, logProbs_T.length, finish]).toEqual([12, 12, 'length']);
  });

  it('gives the same request the same bits in the same order', async () => {
    const engine = await open();
    expect(await listed(engine.sample(REQUEST))).toEqual(await listed(engine.sample(REQUEST)));
  });

  it('draws a sequence alone as it does among others', async () => {
    const engine = await open();
    const together = await sampleAll(engine);
    for (const [index, prompt] of REQUEST.prompts.entries()) {
      const [alone] = await sampleAll(engine, { prompts: [prompt] });
      expect([...alone.ids_T]).toEqual([...together[index].ids_T]);
      alone.logProbs_T.forEach((logProb, t) => expect(Math.abs(logProb - together[index].logProbs_T[t])).toBeLessThan(bounds.nats));
    }
  });

  it('draws anew for another seed, stage, step or sample number, and alike for the same', async () => {
    const engine = await open();
    const [prompt] = REQUEST.prompts;
    const drawn = new Set<string>();
    for (const change of [{}, { seed: 1 }, { stage: 4 }, { step: 18 }]) {
      const [completion] = await sampleAll(engine, { prompts: [prompt], key: { ...REQUEST.key, ...change } });
      drawn.add(completion.ids_T.join());
    }
    const [another] = await sampleAll(engine, { prompts: [{ ...prompt, sample: 99 }] });
    drawn.add(another.ids_T.join());
    expect(drawn.size).toBe(5);
    const [first, second] = idsOf(await sampleAll(engine, { prompts: [prompt, prompt] }));
    expect(first).toEqual(second);
  });

  it.each([
    ['the whole vocabulary', { temperature: 1, topK: 0 }],
    ['a lower temperature', { temperature: 0.5, topK: 0 }],
    ['the 7 most probable ids', { temperature: 1, topK: 7 }],
  ])('draws by the Philox uniform of each position from %s', async (_, sampling) => {
    const engine = await open();
    const ids_T = Int32Array.of(7, 31, 5);
    const prompts = Array.from({ length: 100 }, (_unused, sample) => ({ ids_T, sample }));
    const completions = await sampleAll(engine, { prompts }, { ...sampling, maxTokens: 1 });
    const probability_V = await distribution(engine, ids_T, sampling);
    const asScored = completions.filter(({ ids_T: [id], index }) => id === invert(probability_V, drawUniform({ ...REQUEST.key, sample: index, position: 0 })));
    expect(new Set(completions.map(({ ids_T: [id] }) => id)).size).toBeGreaterThan(4);
    expect(asScored.length / prompts.length).toBeGreaterThanOrEqual(bounds.drawsAsScored);
  });

  it('reports log-probs at temperature 1 over the whole vocabulary, however the ids were drawn', async () => {
    const engine = await open();
    const completions = await sampleAll(engine, {}, { temperature: 0.7, topK: 9, topP: 0.9 });
    const sequences = completions.map(({ ids_T, index }) => {
      const prompt_T = REQUEST.prompts[index].ids_T;
      return { ids_T: Int32Array.of(...prompt_T, ...ids_T), from: prompt_T.length };
    });
    const scored = await listed(engine.score({ sequences, k: 1 }));
    for (const { index, logProbs_T } of completions) {
      logProbs_T.forEach((logProb, t) => expect(Math.abs(logProb - scored[index].actualLogProbs_R[t])).toBeLessThan(bounds.nats));
    }
  });

  it('takes the most probable id at temperature 0, with topK 1 and with a tiny topP', async () => {
    const engine = await open();
    const greedy = idsOf(await sampleAll(engine, {}, { temperature: 0 }));
    expect(idsOf(await sampleAll(engine, {}, { topK: 1 }))).toEqual(greedy);
    expect(idsOf(await sampleAll(engine, {}, { topP: 1e-6 }))).toEqual(greedy);
    const [{ ids_S }] = await listed(engine.score({ sequences: [{ ids_T: Int32Array.of(7, 31, 5, greedy[0][0]), from: 3 }], k: 1 }));
    expect(ids_S[0]).toBe(greedy[0][0]);
  });

  it('takes the smaller id among equally probable ones', async () => {
    const engine = await openFlat();
    expect(idsOf(await sampleAll(engine, {}, { temperature: 0, maxTokens: 2 }))).toEqual([[0, 0], [0, 0], [0, 0], [0, 0]]);
  });

  describe('a stop id', () => {
    it('ends the completion and is its last id', async () => {
      const engine = await open();
      const [whole] = await sampleAll(engine);
      const stop = whole.ids_T[6];
      const end = whole.ids_T.indexOf(stop) + 1;
      const [stopped] = await sampleAll(engine, {}, { stopIds: [STUDENT.vocab - 1, stop] });
      expect([...stopped.ids_T]).toEqual([...whole.ids_T.subarray(0, end)]);
      expect(stopped.finish).toBe('stop');
      expect(stopped.logProbs_T.length).toBe(end);
    });

    it('counts as a stop even as the last token allowed', async () => {
      const engine = await open();
      const [whole] = await sampleAll(engine);
      const first = whole.ids_T[0];
      expect(await sampleAll(engine, { prompts: [REQUEST.prompts[0]] }, { maxTokens: 1, stopIds: [first] })).toMatchObject([{ finish: 'stop' }]);
      expect(await sampleAll(engine, { prompts: [REQUEST.prompts[0]] }, { maxTokens: 1, stopIds: [first === 0 ? 1 : 0] })).toMatchObject([{ finish: 'length' }]);
    });
  });

  it('yields nothing for no prompts', async () => {
    expect(await sampleAll(await open(), { prompts: [] })).toEqual([]);
  });
}

/** The distribution after the ids, as `score` tells it, tempered and cut. */
async function distribution(engine: TestedEngine, ids_T: Int32Array, { temperature, topK }: { temperature: number; topK: number }): Promise<Float64Array> {
  const sequences = [{ ids_T: Int32Array.of(...ids_T, 0), from: ids_T.length }];
  const [{ ids_S, logProbs_S }] = await listed(engine.score({ sequences, k: STUDENT.vocab }));
  const weight_V = new Float64Array(STUDENT.vocab);
  const kept = topK || STUDENT.vocab;
  ids_S.subarray(0, kept).forEach((id, s) => (weight_V[id] = Math.exp(logProbs_S[s] / temperature)));
  const total = weight_V.reduce((a, b) => a + b);
  return weight_V.map((weight) => weight / total);
}

/** The first id at which the cumulative probability exceeds `uniform`. */
function invert(probability_V: Float64Array, uniform: number): number {
  let cumulative = 0;
  return probability_V.findIndex((probability) => (cumulative += probability) > uniform);
}
