import { describe, expect, it } from 'vitest';
import { type LossKind, ROW_METRICS, type RowMetric } from '../../tokens/loss.js';
import { TAIL_FLOOR } from '../../tokens/target.js';
import { evaluateRow, forwardKlLoss, hardLoss, logSoftmax, reverseKlLoss, type RowOutcome, type TargetRow } from './losses.js';

const LOGITS = Float64Array.of(0.3, -1.2, 2.1, 0.7, -0.4, 1.1, -2.3);
const TARGET: TargetRow = { ids: [2, 5, 0], logProbs: [0.5, 0.2, 0.1].map(Math.log), tail: 0.2 };
const LABEL = 5;
/** Nearly all of the student's mass lies on the support of `TARGET`, so that its tail is below the floor. */
const CERTAIN = Float64Array.of(18, 0.4, 20, -0.2, 0.1, 19, 0.3);

function column(outcome: RowOutcome, name: RowMetric): number {
  return outcome.metrics_M[ROW_METRICS.indexOf(name)];
}

/** KL between two lists of probabilities. */
function kl(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * Math.log(value / b[i]), 0);
}

/** The student's distribution over TARGET's support, then everything else. */
function coarsened(logits_V: Float64Array): number[] {
  const p = Array.from(logSoftmax(logits_V), Math.exp);
  const inside = Array.from(TARGET.ids, (id) => p[id]);
  return [...inside, p.reduce((sum, value, id) => (Array.from(TARGET.ids).includes(id) ? sum : sum + value), 0)];
}

function centralDifferences(loss: (logits_V: Float64Array) => number, at_V: Float64Array): number[] {
  const h = 1e-5;
  return Array.from(at_V, (_, j) => (loss(at_V.map((z, i) => (i === j ? z + h : z))) - loss(at_V.map((z, i) => (i === j ? z - h : z)))) / (2 * h));
}

function expectClose(actual: ArrayLike<number>, expected: readonly number[], tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  expected.forEach((value, i) => expect(Math.abs(actual[i] - value)).toBeLessThanOrEqual(tolerance));
}

describe('values', () => {
  it('hard is the cross-entropy of the label', () => {
    expect(hardLoss(LOGITS, LABEL).loss).toBeCloseTo(Math.log(LOGITS.reduce((sum, z) => sum + Math.exp(z), 0)) - LOGITS[LABEL], 14);
  });

  it('forward_kl is KL(q || p) of the coarsened distributions', () => {
    expect(forwardKlLoss(LOGITS, TARGET).loss).toBeCloseTo(kl([0.5, 0.2, 0.1, 0.2], coarsened(LOGITS)), 14);
  });

  it('reverse_kl is KL(p || q) of the coarsened distributions', () => {
    expect(reverseKlLoss(LOGITS, TARGET).loss).toBeCloseTo(kl(coarsened(LOGITS), [0.5, 0.2, 0.1, 0.2]), 14);
  });

  it('floors both tails alike', () => {
    const sure: TargetRow = { ids: TARGET.ids, logProbs: [0.6, 0.3, 0.1].map((q) => Math.log(q * (1 - TAIL_FLOOR))), tail: 0 };
    const q = [0.6, 0.3, 0.1].map((value) => value * (1 - TAIL_FLOOR));
    const p = coarsened(CERTAIN).slice(0, 3);
    expect(coarsened(CERTAIN)[3]).toBeLessThan(TAIL_FLOOR);
    expect(forwardKlLoss(CERTAIN, sure).loss).toBeCloseTo(kl([...q, TAIL_FLOOR], [...p, TAIL_FLOOR]), 14);
    expect(reverseKlLoss(CERTAIN, sure).loss).toBeCloseTo(kl([...p, TAIL_FLOOR], [...q, TAIL_FLOOR]), 14);
  });
});

describe.each([
  ['hard', (z: Float64Array) => hardLoss(z, LABEL)],
  ['forward_kl', (z: Float64Array) => forwardKlLoss(z, TARGET)],
  ['reverse_kl', (z: Float64Array) => reverseKlLoss(z, TARGET)],
] as const)('gradient of %s', (_, loss) => {
  it.each([
    ['an ordinary row', LOGITS],
    ['a row whose student tail is floored', CERTAIN],
  ])('agrees with central differences on %s', (_name, logits_V) => {
    const { dLogits_V } = loss(logits_V);
    expectClose(dLogits_V, centralDifferences((z) => loss(z).loss, logits_V), 1e-9);
  });
});

describe('closed forms', () => {
  const p = Array.from(logSoftmax(LOGITS), Math.exp);
  const q_V = [0.1, 0, 0.5, 0, 0, 0.2, 0];
  const inSupport = (j: number): boolean => Array.from(TARGET.ids).includes(j);
  const studentTail = coarsened(LOGITS)[3];

  it('forward_kl has p - q on the support and p (1 - q_T / p_T) off it', () => {
    const expected = p.map((pj, j) => (inSupport(j) ? pj - q_V[j] : pj * (1 - 0.2 / studentTail)));
    expectClose(forwardKlLoss(LOGITS, TARGET).dLogits_V, expected, 1e-15);
  });

  it('reverse_kl has p (r - L), with r the log-ratio of the tails off the support', () => {
    const { loss, dLogits_V } = reverseKlLoss(LOGITS, TARGET);
    const expected = p.map((pj, j) => pj * (Math.log(inSupport(j) ? pj / q_V[j] : studentTail / 0.2) - loss));
    expectClose(dLogits_V, expected, 1e-15);
  });

  it('a floored student tail gives forward_kl the gradient Q_S p - [S] q', () => {
    const expected = Array.from(logSoftmax(CERTAIN), (logP, j) => 0.8 * Math.exp(logP) - q_V[j]);
    expectClose(forwardKlLoss(CERTAIN, TARGET).dLogits_V, expected, 1e-15);
  });

  it('a floored student tail gives reverse_kl the gradient p ([S](r + 1) - sum_S p (r + 1))', () => {
    const certain = Array.from(logSoftmax(CERTAIN), Math.exp);
    const r = certain.map((pj, j) => (inSupport(j) ? Math.log(pj / q_V[j]) : -1));
    const mean = certain.reduce((sum, pj, j) => sum + pj * (r[j] + 1), 0);
    expectClose(reverseKlLoss(CERTAIN, TARGET).dLogits_V, certain.map((pj, j) => pj * (r[j] + 1 - mean)), 1e-15);
  });

  it('both vanish where the student is the teacher', () => {
    const own: TargetRow = { ids: [2, 5], logProbs: [Math.log(p[2]), Math.log(p[5])], tail: 1 - p[2] - p[5] };
    for (const { loss, dLogits_V } of [forwardKlLoss(LOGITS, own), reverseKlLoss(LOGITS, own)]) {
      expect(Math.abs(loss)).toBeLessThan(1e-15);
      expectClose(dLogits_V, Array<number>(LOGITS.length).fill(0), 1e-15);
    }
  });
});

describe('evaluateRow', () => {
  it('measures every column of ROW_METRICS', () => {
    const p = Array.from(logSoftmax(LOGITS), Math.exp);
    const outcome = evaluateRow('reverse_kl', LOGITS, { label: LABEL, target: TARGET });
    expect(column(outcome, 'loss')).toBe(column(outcome, 'reverseKl'));
    expect(column(outcome, 'forwardKl')).toBeCloseTo(kl([0.5, 0.2, 0.1, 0.2], coarsened(LOGITS)), 14);
    expect(column(outcome, 'studentEntropy')).toBeCloseTo(-p.reduce((sum, x) => sum + x * Math.log(x), 0), 14);
    expect(column(outcome, 'teacherEntropy')).toBeCloseTo(-[0.5, 0.2, 0.1, 0.2].reduce((sum, x) => sum + x * Math.log(x), 0), 14);
    expect(column(outcome, 'supportMass')).toBeCloseTo(p[2] + p[5] + p[0], 14);
    expect(column(outcome, 'agreement')).toBe(1);
    expect(column(outcome, 'labelLogProb')).toBeCloseTo(Math.log(p[LABEL]), 14);
  });

  it('sees disagreement where the teacher prefers another id', () => {
    const other: TargetRow = { ids: [5, 2], logProbs: [Math.log(0.7), Math.log(0.2)], tail: 0.1 };
    expect(column(evaluateRow('hard', LOGITS, { label: LABEL, target: other }), 'agreement')).toBe(0);
  });

  it('leaves the columns that need a teacher at NaN without one', () => {
    const outcome = evaluateRow('hard', LOGITS, { label: LABEL });
    const absent = ROW_METRICS.filter((_, m) => Number.isNaN(outcome.metrics_M[m]));
    expect(absent).toEqual(['forwardKl', 'reverseKl', 'teacherEntropy', 'supportMass', 'agreement']);
    expect(column(outcome, 'loss')).toBe(-column(outcome, 'labelLogProb'));
  });

  it.each(['forward_kl', 'reverse_kl'] as const satisfies LossKind[])('refuses %s without a target', (kind) => {
    expect(() => evaluateRow(kind, LOGITS, { label: LABEL })).toThrow(/needs a target/);
  });
});
