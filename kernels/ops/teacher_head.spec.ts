import { afterEach, describe, expect, it } from 'vitest';
import { codeOf, expectClose, expectRepeatable } from '../../test/support/kernels/check.js';
import { headProblem, logitsRow, logSoftmax, ranking, type HeadProblem } from '../../test/support/kernels/head-reference.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels, type Tensor } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

interface Draws {
  readonly temperature: number;
  /** Of row r. */
  readonly uniform: (r: number) => number;
}

type Answers = Record<'topIds' | 'topLogits' | 'labelLogits' | 'labelRanks' | 'logSumExp' | 'drawnIds' | 'drawnLogits', Tensor>;

const NO_DRAW: Draws = { temperature: 0, uniform: () => 0 };

function answers({ R, V, D, hidden_RD, weight_VD, labels_R }: HeadProblem, k: number, { temperature, uniform }: Draws = NO_DRAW): Answers {
  const given = [tensors.bf16([R, D], hidden_RD), tensors.bf16([V, D], weight_VD), tensors.i32([R], labels_R)] as const;
  const draws = [tensors.f32([R], new Array<number>(R).fill(temperature)), tensors.f32([R], Array.from({ length: R }, (_, r) => uniform(r)))] as const;
  const out = {
    topIds: tensors.i32([R, k]), topLogits: tensors.f32([R, k]), labelLogits: tensors.f32([R]), labelRanks: tensors.i32([R]), logSumExp: tensors.f32([R]),
    drawnIds: tensors.i32([R]), drawnLogits: tensors.f32([R]),
  };
  kernels.teacherHead(...given, ...draws, out.topIds, out.topLogits, out.labelLogits, out.labelRanks, out.logSumExp, out.drawnIds, out.drawnLogits);
  return out;
}

const CASES = [
  { R: 1, V: 1, D: 8, k: 1 },
  { R: 5, V: 33, D: 16, k: 33 },
  { R: 40, V: 1037, D: 33, k: 64 },
  { R: 530, V: 70, D: 8, k: 5 }, // more rows than a chunk holds
] as const;

describe.each(CASES)('teacher_head with R = $R, V = $V, D = $D, k = $k', ({ R, V, D, k }) => {
  const given = headProblem({ R, V, D, seed: R + V });

  it('gives the best ids in order with their logits, the label with its rank, and the log-sum-exp', () => {
    const out = answers(given, k);
    const [ids, logits] = [tensors.values(out.topIds), tensors.values(out.topLogits)];
    const [labels, ranks, sums] = [tensors.values(out.labelLogits), tensors.values(out.labelRanks), tensors.values(out.logSumExp)];
    for (let r = 0; r < R; r++) {
      const z = logitsRow(given, r);
      const row = [...ids.slice(r * k, (r + 1) * k)];
      expectClose(logits.slice(r * k, (r + 1) * k), ranking(z).slice(0, k).map((id) => z[id]), { relative: 2e-6, absolute: 2e-6 });
      expectClose(row.map((id) => z[id]), ranking(z).slice(0, k).map((id) => z[id]), { absolute: 4e-6 }); // rounding may swap near-equal ids
      expect(new Set(row).size).toBe(k);
      const label = z[given.labels_R[r]];
      expectClose([labels[r], sums[r]], [label, z[0] - logSoftmax(z)[0]], { relative: 2e-6, absolute: 2e-6 });
      expect(ranks[r]).toBeGreaterThan(z.filter((other) => other > label + 4e-6).length);
      expect(ranks[r]).toBeLessThanOrEqual(z.filter((other) => other > label - 4e-6).length);
    }
  });

  it.each([1, 0.6])('draws by inverse CDF in ascending order of ids at temperature %f', (temperature) => {
    const uniform = (r: number): number => Math.fround((r * 0.618 + 0.1) % 1);
    const out = answers(given, k, { temperature, uniform });
    const [ids, logits] = [tensors.values(out.drawnIds), tensors.values(out.drawnLogits)];
    for (let r = 0; r < R; r++) {
      const z = logitsRow(given, r);
      const p = logSoftmax(z, temperature).map(Math.exp);
      const before = p.subarray(0, ids[r]).reduce((sum, one) => sum + one, 0);
      expect(before).toBeLessThanOrEqual(uniform(r) + 1e-5);
      expect(before + p[ids[r]]).toBeGreaterThan(uniform(r) - 1e-5);
      expectClose([logits[r]], [z[ids[r]]], { relative: 2e-6, absolute: 2e-6 });
    }
  });
});

// Logits 1, 3, 2, 3, 2, 3, twice.
const TIED: HeadProblem = { R: 2, V: 6, D: 1, hidden_RD: Float64Array.of(1, 1), weight_VD: Float64Array.of(1, 3, 2, 3, 2, 3), labels_R: Int32Array.of(2, 5) };

describe('teacher_head', () => {
  it('orders equal logits by id and counts all of them in a rank', () => {
    const out = answers(TIED, 4);
    expect([...tensors.values(out.topIds)]).toEqual([1, 3, 5, 2, 1, 3, 5, 2]);
    expect([...tensors.values(out.labelRanks)]).toEqual([5, 3]);
  });

  it('takes the best at temperature 0 and close to it, and the ends of the range at uniforms 0 and 1', () => {
    expect([...tensors.values(answers(TIED, 1).drawnIds)]).toEqual([1, 1]);
    expect([...tensors.values(answers(TIED, 1, { temperature: 1e-38, uniform: (r) => r * 0.999 }).drawnIds)]).toEqual([1, 5]);
    expect([...tensors.values(answers(TIED, 1, { temperature: 1, uniform: (r) => r }).drawnIds)]).toEqual([0, 5]);
  });

  it('does nothing for no rows', () => {
    expect(tensors.values(answers(headProblem({ R: 0, V: 9, D: 4, seed: 1 }), 3).topIds)).toHaveLength(0);
  });

  it('repeats its bits at 2, 8 and 16 threads', () => {
    const given = headProblem({ R: 37, V: 501, D: 48, seed: 9 });
    expectRepeatable(kernels, () => {
      const bits = Object.values(answers(given, 16, { temperature: 0.8, uniform: (r) => r / 37 })).map((tensor) => tensors.bits(tensor));
      tensors.dispose();
      return bits;
    });
  });

  it.each([
    { name: 'a label outside the vocabulary', ask: () => answers({ ...TIED, labels_R: Int32Array.of(0, 6) }, 2), code: 'kernels.bad_value' },
    { name: 'no k', ask: () => answers(TIED, 0), code: 'kernels.bad_shape' },
    { name: 'a k beyond the vocabulary', ask: () => answers(TIED, 7), code: 'kernels.bad_shape' },
    { name: 'a negative temperature', ask: () => answers(TIED, 1, { temperature: -1, uniform: () => 0 }), code: 'kernels.bad_value' },
    { name: 'an infinite temperature', ask: () => answers(TIED, 1, { temperature: Infinity, uniform: () => 0 }), code: 'kernels.bad_value' },
    { name: 'a uniform above 1', ask: () => answers(TIED, 1, { temperature: 1, uniform: () => 1.5 }), code: 'kernels.bad_value' },
    { name: 'a uniform that is no number', ask: () => answers(TIED, 1, { temperature: 1, uniform: () => NaN }), code: 'kernels.bad_value' },
  ])('refuses $name', ({ ask, code }) => {
    expect(codeOf(ask)).toBe(code);
  });
});
