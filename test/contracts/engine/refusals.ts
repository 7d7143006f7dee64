import { describe, expect, it } from 'vitest';
import type { SampleRequest } from '../../../src/engine/engine.js';
import type { PackedBatch, PackedTargets } from '../../../src/tokens/batch.js';
import type { ScoreSequence } from '../../../src/tokens/target.js';
import { listed } from '../../support/scored-batch.js';
import { tinyConfig } from '../../support/tiny-model.js';
import { FORWARD_KL, FROZEN, lossOf, STUDENT, type Contract } from './contract.js';
import { REQUEST } from './sampling.js';

const BROKEN: Record<string, (batch: PackedBatch) => Partial<PackedBatch>> = {
  'an id beyond the vocabulary': ({ tokens_N }) => ({ tokens_N: tokens_N.with(2, STUDENT.vocab) }),
  'a negative id': ({ tokens_N }) => ({ tokens_N: tokens_N.with(0, -1) }),
  'an empty sequence': ({ cuSeqlens_S1 }) => ({ cuSeqlens_S1: Int32Array.of(0, 0, ...cuSeqlens_S1.subarray(1)) }),
  'sequences that end before the tokens': ({ cuSeqlens_S1 }) => ({ cuSeqlens_S1: cuSeqlens_S1.slice(0, -1) }),
  'rows out of order': ({ rows_R }) => ({ rows_R: rows_R.slice().reverse() }),
  'a row that predicts nothing': ({ rows_R, cuSeqlens_S1 }) => ({ rows_R: rows_R.with(-1, cuSeqlens_S1[cuSeqlens_S1.length - 1] - 1) }),
  'a weight of 0': ({ weights_R }) => ({ weights_R: weights_R.with(1, 0) }),
  'a weight that is not a number': ({ weights_R }) => ({ weights_R: weights_R.with(1, NaN) }),
  'a label beyond the vocabulary': ({ labels_R }) => ({ labels_R: labels_R.with(0, STUDENT.vocab) }),
  'fewer labels than rows': ({ labels_R }) => ({ labels_R: labels_R.slice(1) }),
  'no targets': () => ({ targets: undefined }),
  'a support id beyond the vocabulary': (batch) => targetsWith(batch, ({ ids_E }) => ({ ids_E: ids_E.with(3, STUDENT.vocab) })),
  'an empty support': (batch) => targetsWith(batch, ({ offsets_R1 }) => ({ offsets_R1: offsets_R1.with(1, 0) })),
  'a probability above 1': (batch) => targetsWith(batch, ({ logProbs_E }) => ({ logProbs_E: logProbs_E.with(0, 0.5) })),
  'a log-prob that is not a number': (batch) => targetsWith(batch, ({ logProbs_E }) => ({ logProbs_E: logProbs_E.with(0, NaN) })),
  'a tail of 0': (batch) => targetsWith(batch, ({ tail_R }) => ({ tail_R: tail_R.with(0, 0) })),
};

const BAD_SAMPLING: Record<string, (request: SampleRequest) => Partial<SampleRequest>> = {
  'an empty prompt': () => ({ prompts: [{ ids_T: new Int32Array(0), sample: 0 }] }),
  'an id beyond the vocabulary': () => ({ prompts: [{ ids_T: Int32Array.of(1, STUDENT.vocab), sample: 0 }] }),
  'more tokens than the model has positions': ({ sampling }) => ({ sampling: { ...sampling, maxTokens: 1000 } }),
  'no tokens': ({ sampling }) => ({ sampling: { ...sampling, maxTokens: 0 } }),
  'a negative temperature': ({ sampling }) => ({ sampling: { ...sampling, temperature: -1 } }),
  'a top-p of 0': ({ sampling }) => ({ sampling: { ...sampling, topP: 0 } }),
  'a negative top-k': ({ sampling }) => ({ sampling: { ...sampling, topK: -1 } }),
  'a seed that is no integer': ({ key }) => ({ key: { ...key, seed: 0.5 } }),
};

const BAD_SCORING: Record<string, { readonly sequence: ScoreSequence; readonly k: number }> = {
  'a row before the first id': { sequence: { ids_T: Int32Array.of(1, 2), from: 0 }, k: 3 },
  'a row after the last id': { sequence: { ids_T: Int32Array.of(1, 2), from: 3 }, k: 3 },
  'an id beyond the vocabulary': { sequence: { ids_T: Int32Array.of(1, STUDENT.vocab), from: 1 }, k: 3 },
  'an empty support': { sequence: { ids_T: Int32Array.of(1, 2), from: 1 }, k: 0 },
  'a support larger than the vocabulary': { sequence: { ids_T: Int32Array.of(1, 2), from: 1 }, k: STUDENT.vocab + 1 },
};

/** Whatever breaks a contract is refused by its code, before any work. */
export function refusalContract({ open, batch }: Contract): void {
  it('refuses every broken batch and keeps gradients and weights as they were', async () => {
    const engine = await open();
    const good = await batch();
    const sums = await engine.forwardBackward(good, FORWARD_KL, 10);
    const { gradNorm } = await engine.optimStep(FROZEN);
    await engine.forwardBackward(good, FORWARD_KL, 10);
    for (const [what, damage] of Object.entries(BROKEN)) {
      const broken = { ...good, ...damage(good) };
      await expect(engine.forwardBackward(broken, FORWARD_KL, 10), what).rejects.toMatchObject({ code: 'tokens.batch_invalid', kind: 'invalid' });
      await expect(engine.forward(broken, FORWARD_KL), what).rejects.toMatchObject({ code: 'tokens.batch_invalid' });
    }
    expect((await engine.optimStep(FROZEN)).gradNorm).toBe(gradNorm);
    expect(await engine.forward(good, FORWARD_KL)).toEqual(sums);
  });

  it.each([0, -1, NaN, Infinity])('refuses the normalizer %d', async (normalizer) => {
    await expect((await open()).forwardBackward(await batch(), FORWARD_KL, normalizer)).rejects.toMatchObject({ kind: 'invalid' });
  });

  it('refuses a sequence longer than the model has positions', async () => {
    const { maxPositions: T } = tinyConfig(STUDENT);
    const row = { rows_R: Int32Array.of(0), weights_R: Float32Array.of(1), labels_R: Int32Array.of(0) };
    const long = { tokens_N: new Int32Array(T + 1), cuSeqlens_S1: Int32Array.of(0, T + 1), ...row };
    await expect((await open()).forward(long, lossOf('hard'))).rejects.toMatchObject({ kind: 'invalid' });
  });

  it('refuses every broken request to sample', async () => {
    const engine = await open();
    for (const [what, damage] of Object.entries(BAD_SAMPLING)) {
      await expect(listed(engine.sample({ ...REQUEST, ...damage(REQUEST) })), what).rejects.toMatchObject({ code: 'engine.request_invalid' });
    }
    expect(await listed(engine.sample(REQUEST))).toHaveLength(REQUEST.prompts.length);
  });

  it('refuses every broken request to score', async () => {
    const engine = await open();
    for (const [what, { sequence, k }] of Object.entries(BAD_SCORING)) {
      await expect(listed(engine.score({ sequences: [sequence], k })), what).rejects.toMatchObject({ code: 'engine.request_invalid' });
    }
  });

  describe('on abort', () => {
    it('forwardBackward drops all gradients since the last step, keeps the weights and goes on', async () => {
      const engine = await open();
      const good = await batch();
      const sums = await engine.forwardBackward(good, FORWARD_KL, 10);
      const controller = new AbortController();
      const running = engine.forwardBackward(good, FORWARD_KL, 10, { signal: controller.signal });
      controller.abort();
      await expect(running).rejects.toMatchObject({ code: 'common.aborted' });
      expect((await engine.optimStep(FROZEN)).gradNorm).toBe(0);
      expect(await engine.forwardBackward(good, FORWARD_KL, 10)).toEqual(sums);
    });

    it('sample stops in the middle of a completion', async () => {
      const engine = await open();
      const controller = new AbortController();
      const running = listed(engine.sample({ ...REQUEST, sampling: { ...REQUEST.sampling, maxTokens: 400 } }, controller.signal));
      setImmediate(() => controller.abort());
      await expect(running).rejects.toMatchObject({ code: 'common.aborted' });
    });

    it('a signal that fired before stops each call', async () => {
      const engine = await open();
      const fired = AbortSignal.abort();
      const aborted = { code: 'common.aborted' };
      await expect(engine.forward(await batch(), FORWARD_KL, fired)).rejects.toMatchObject(aborted);
      await expect(engine.forwardBackward(await batch(), FORWARD_KL, 1, { signal: fired })).rejects.toMatchObject(aborted);
      await expect(listed(engine.sample(REQUEST, fired))).rejects.toMatchObject(aborted);
      await expect(listed(engine.score({ sequences: [{ ids_T: Int32Array.of(1, 2), from: 1 }], k: 2 }, fired))).rejects.toMatchObject(aborted);
    });

    it('sample and score stop after the item at hand and the engine goes on', async () => {
      const engine = await open();
      const whole = await listed(engine.sample(REQUEST));
      const sequences = [{ ids_T: Int32Array.of(1, 2, 3), from: 1 }];
      for (const stream of [(signal: AbortSignal) => engine.sample(REQUEST, signal), (signal: AbortSignal) => engine.score({ sequences, k: 2 }, signal)]) {
        const controller = new AbortController();
        const items: unknown[] = [];
        const running = (async () => {
          for await (const item of stream(controller.signal)) {
            items.push(item);
            controller.abort();
          }
        })();
        await expect(running).rejects.toMatchObject({ code: 'common.aborted' });
        expect(items).toHaveLength(1);
      }
      expect(await listed(engine.sample(REQUEST))).toEqual(whole);
    });
  });

  it('refuses every call after close', async () => {
    const engine = await open();
    await engine.close();
    await expect(engine.forward(await batch(), FORWARD_KL)).rejects.toMatchObject({ code: 'engine.failed' });
    await expect(listed(engine.sample(REQUEST))).rejects.toMatchObject({ code: 'engine.failed' });
  });
}

function targetsWith({ targets }: PackedBatch, change: (targets: PackedTargets) => Partial<PackedTargets>): Partial<PackedBatch> {
  if (!targets) throw new Error('the batch has no targets to break');
  return { targets: { ...targets, ...change(targets) } };
}
