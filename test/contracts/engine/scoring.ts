import { expect, it } from 'vitest';
import { ROW_METRICS } from '../../../src/tokens/loss.js';
import type { TargetBlock } from '../../../src/tokens/target.js';
import { listed, scoredBatch, weightOf } from '../../support/scored-batch.js';
import { FORWARD_KL, FROZEN, lossOf, SEQUENCES, STUDENT, type Contract } from './contract.js';

interface Row {
  readonly ids: number[];
  readonly logProbs: number[];
  readonly tail: number;
  readonly actual: number;
}

function rowsOf({ offsets_R1, ids_S, logProbs_S, tail_R, actualLogProbs_R }: TargetBlock): Row[] {
  return Array.from(tail_R, (tail, r) => ({
    ids: [...ids_S.subarray(offsets_R1[r], offsets_R1[r + 1])],
    logProbs: [...logProbs_S.subarray(offsets_R1[r], offsets_R1[r + 1])],
    tail,
    actual: actualLogProbs_R[r],
  }));
}

const massOf = (logProbs: readonly number[]): number => logProbs.reduce((sum, logProb) => sum + Math.exp(logProb), 0);

/** `score`. */
export function scoringContract({ open, openFlat, batch, bounds }: Contract): void {
  it('answers in request order with one row for each id asked about', async () => {
    const blocks = await listed((await open()).score({ sequences: SEQUENCES, k: 4 }));
    expect(blocks.map(({ index }) => index)).toEqual(SEQUENCES.map((_, index) => index));
    expect(blocks.map((block) => rowsOf(block).length)).toEqual(SEQUENCES.map(({ ids_T, from }) => ids_T.length - from));
  });

  it('gives rows whose support and tail sum to 1, best first', async () => {
    for (const block of await listed((await open()).score({ sequences: SEQUENCES, k: 4 }))) {
      for (const { logProbs, tail } of rowsOf(block)) {
        expect(massOf(logProbs) + tail).toBeCloseTo(1, 5);
        expect(logProbs.slice(0, 4)).toEqual(logProbs.slice(0, 4).sort((a, b) => b - a));
      }
    }
  });

  it('cuts the top k and the tail from the log-softmax over the whole vocabulary', async () => {
    const engine = await open();
    const whole = (await listed(engine.score({ sequences: SEQUENCES, k: STUDENT.vocab }))).flatMap(rowsOf);
    const cut = (await listed(engine.score({ sequences: SEQUENCES, k: 4 }))).flatMap(rowsOf);
    cut.forEach(({ ids, logProbs, tail }, r) => {
      expect(new Set(whole[r].ids).size).toBe(STUDENT.vocab);
      expect(whole[r].tail).toBe(0);
      expect(massOf(whole[r].logProbs)).toBeCloseTo(1, 5);
      expect(ids.slice(0, 4)).toEqual(whole[r].ids.slice(0, 4));
      logProbs.forEach((logProb, s) => expect(logProb).toBeCloseTo(whole[r].logProbs[whole[r].ids.indexOf(ids[s])], 5));
      expect(tail).toBeCloseTo(massOf(whole[r].logProbs.filter((_, s) => !ids.includes(whole[r].ids[s]))), 6);
    });
  });

  it('has the actual id in every support, appended where it is not among the top k', async () => {
    const labels = SEQUENCES.flatMap(({ ids_T, from }) => [...ids_T.subarray(from)]);
    const rows = (await listed((await open()).score({ sequences: SEQUENCES, k: 30 }))).flatMap(rowsOf);
    rows.forEach(({ ids, logProbs, actual }, r) => {
      const at = ids.indexOf(labels[r]);
      expect(ids.length).toBe(at < 30 ? 30 : 31);
      expect(at).toBeGreaterThanOrEqual(0);
      expect(logProbs[at]).toBe(actual);
      expect(new Set(ids).size).toBe(ids.length);
    });
    expect(new Set(rows.map(({ ids }) => ids.length))).toEqual(new Set([30, 31]));
  });

  it('puts the smaller id first among equally probable ones', async () => {
    const engine = await openFlat();
    const [row] = rowsOf((await listed(engine.score({ sequences: [{ ids_T: Int32Array.of(3, 9), from: 1 }], k: 4 })))[0]);
    expect(row.ids).toEqual([0, 1, 2, 3, 9]);
    for (const logProb of row.logProbs) expect(logProb).toBeCloseTo(-Math.log(STUDENT.vocab), 5);
    expect(row.tail).toBeCloseTo(1 - 5 / STUDENT.vocab, 5);
  });

  it('agrees with what training measures at the same rows', async () => {
    const engine = await open();
    const packed = await batch();
    const actual = (await listed(engine.score({ sequences: SEQUENCES, k: 1 }))).flatMap((block) => [...block.actualLogProbs_R]);
    const { rowMetrics_RM } = await engine.forward(packed, lossOf('hard'));
    const column = ROW_METRICS.indexOf('labelLogProb');
    actual.forEach((logProb, r) => expect(Math.abs(logProb - rowMetrics_RM[r * ROW_METRICS.length + column])).toBeLessThan(bounds.nats));
  });

  it('scores a sequence alone as among others, and has no rows where none are asked for', async () => {
    const engine = await open();
    const together = await listed(engine.score({ sequences: SEQUENCES, k: 4 }));
    for (const [index, sequence] of SEQUENCES.entries()) {
      const [alone] = await listed(engine.score({ sequences: [sequence], k: 4 }));
      alone.actualLogProbs_R.forEach((logProb, r) => expect(Math.abs(logProb - together[index].actualLogProbs_R[r])).toBeLessThan(bounds.nats));
    }
    const [none] = await listed(engine.score({ sequences: [{ ids_T: Int32Array.of(3, 9), from: 2 }], k: 4 }));
    expect(rowsOf(none)).toEqual([]);
    expect(await listed(engine.score({ sequences: [], k: 4 }))).toEqual([]);
  });

  it.each(['forward_kl', 'reverse_kl'] as const)('gives targets on which %s of the same weights is at most 1e-6 nats a token, with next to no gradient', async (kind) => {
    const engine = await open();
    const own = await scoredBatch(engine, SEQUENCES, 6);
    const { lossNats, weightSum } = await engine.forwardBackward(own, lossOf(kind), weightOf(own));
    expect(Math.abs(lossNats / weightSum)).toBeLessThanOrEqual(1e-6);
    const { gradNorm } = await engine.optimStep(FROZEN);
    await engine.forwardBackward(await batch(), FORWARD_KL, weightOf(own));
    expect(gradNorm / (await engine.optimStep(FROZEN)).gradNorm).toBeLessThan(1e-4);
  });
}
