import { afterEach, describe, expect, it } from 'vitest';
import { codeOf, expectClose, expectRepeatable } from '../../test/support/kernels/check.js';
import { headProblem, logitsRow, logSoftmax, ranking, type HeadProblem } from '../../test/support/kernels/head-reference.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels, type Tensor } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

interface Scores {
  readonly topIds: Tensor;
  readonly topLogProbs: Tensor;
  readonly labelLogProbs: Tensor;
  readonly tail: Tensor;
}

function score({ R, V, D, hidden_RD, weight_VD, labels_R }: HeadProblem, k: number): Scores {
  const scores = { topIds: tensors.i32([R, k]), topLogProbs: tensors.f32([R, k]), labelLogProbs: tensors.f32([R]), tail: tensors.f32([R]) };
  kernels.scoreHead(tensors.bf16([R, D], hidden_RD), tensors.bf16([V, D], weight_VD), tensors.i32([R], labels_R),
    scores.topIds, scores.topLogProbs, scores.labelLogProbs, scores.tail);
  return scores;
}

const CASES = [
  { R: 1, V: 1, D: 8, k: 1 },
  { R: 1, V: 50, D: 24, k: 1 },
  { R: 5, V: 33, D: 16, k: 33 },
  { R: 7, V: 100, D: 64, k: 99 },
  { R: 40, V: 1037, D: 33, k: 64 },
  { R: 530, V: 70, D: 8, k: 5 }, // more rows than a chunk holds
] as const;

describe.each(CASES)('score_head with R = $R, V = $V, D = $D, k = $k', ({ R, V, D, k }) => {
  const given = headProblem({ R, V, D, seed: R + V });

  it('gives the best ids in order, their log-probs, the label and the tail', () => {
    const scores = score(given, k);
    const [ids, logProbs] = [tensors.values(scores.topIds), tensors.values(scores.topLogProbs)];
    const [labels, tails] = [tensors.values(scores.labelLogProbs), tensors.values(scores.tail)];
    for (let r = 0; r < R; r++) {
      const expected = logSoftmax(logitsRow(given, r));
      const best = ranking(expected).slice(0, k);
      const row = [...ids.slice(r * k, (r + 1) * k)];
      expectClose(logProbs.slice(r * k, (r + 1) * k), best.map((id) => expected[id]), { relative: 2e-6, absolute: 2e-6 });
      expectClose(row.map((id) => expected[id]), best.map((id) => expected[id]), { absolute: 4e-6 }); // rounding may swap near-equal ids
      expect(new Set(row).size).toBe(k);
      expectClose([labels[r]], [expected[given.labels_R[r]]], { relative: 2e-6, absolute: 2e-6 });
      const outside = expected.reduce((sum, logProb, id) => (row.includes(id) || id === given.labels_R[r] ? sum : sum + Math.exp(logProb)), 0);
      expectClose([tails[r]], [outside], { relative: 3e-6, absolute: 1e-12 });
    }
  });
});

describe('score_head', () => {
  it('ranks equal logits by id and counts the label once', () => {
    const tied: HeadProblem = { R: 2, V: 6, D: 1, hidden_RD: Float64Array.of(1, 1), weight_VD: Float64Array.of(1, 3, 2, 3, 2, 3), labels_R: Int32Array.of(5, 4) };
    const scores = score(tied, 4);
    expect([...tensors.values(scores.topIds)]).toEqual([1, 3, 5, 2, 1, 3, 5, 2]);
    const p = logSoftmax([1, 3, 2, 3, 2, 3]).map(Math.exp);
    expectClose(tensors.values(scores.tail), [p[0] + p[4], p[0]], { relative: 1e-6 });
  });

  it('keeps a tiny tail that 1 minus the rest would lose', () => {
    const given: HeadProblem = { R: 1, V: 3, D: 1, hidden_RD: Float64Array.of(1), weight_VD: Float64Array.of(0, 30, 2), labels_R: Int32Array.of(1) };
    const tail = tensors.values(score(given, 1).tail);
    expectClose(tail, [(1 + Math.exp(2)) * Math.exp(-30)], { relative: 1e-6 });
  });

  it('does nothing for no rows', () => {
    expect(tensors.values(score(headProblem({ R: 0, V: 9, D: 4, seed: 1 }), 3).topIds)).toHaveLength(0);
  });

  it('repeats its bits at 2, 8 and 16 threads', () => {
    const given = headProblem({ R: 37, V: 501, D: 48, seed: 9 });
    expectRepeatable(kernels, () => {
      const { topIds, topLogProbs, labelLogProbs, tail } = score(given, 16);
      const bits = [topIds, topLogProbs, labelLogProbs, tail].map((tensor) => tensors.bits(tensor));
      tensors.dispose();
      return bits;
    });
  });

  it('refuses a label outside the vocabulary and a k that does not fit', () => {
    const given = headProblem({ R: 2, V: 9, D: 4, seed: 3 });
    expect(codeOf(() => score({ ...given, labels_R: Int32Array.of(0, 9) }, 2))).toBe('kernels.bad_value');
    expect(codeOf(() => score({ ...given, labels_R: Int32Array.of(-1, 0) }, 2))).toBe('kernels.bad_value');
    expect(codeOf(() => score(given, 10))).toBe('kernels.bad_shape');
    expect(codeOf(() => score(given, 0))).toBe('kernels.bad_shape');
    expect(codeOf(() => score(given, 9))).toBe('none');
  });
});
