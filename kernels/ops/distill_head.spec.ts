import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { ROW_METRICS, type LossKind } from '../../src/tokens/loss.js';
import { normaliseTargets, TAIL_FLOOR } from '../../src/tokens/target.js';
import { codeOf, cosine, expectClose, expectRepeatable, expectSameBits, normals, relativeL2 } from '../../test/support/kernels/check.js';
import { distillReference, logitGradientReference, lossReference, studentTail, type TargetRow } from '../../test/support/kernels/distill-reference.js';
import { headProblem, logitsRow, logSoftmax, ranking, type HeadProblem } from '../../test/support/kernels/head-reference.js';
import { roundedToF32 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels, LOSS_CODES, NO_TENSOR, type Tensor } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

const M = ROW_METRICS.length;

interface DistillProblem {
  readonly kind: LossKind;
  readonly head: HeadProblem;
  readonly scale_R: Float64Array;
  readonly targets?: readonly TargetRow[];
}

/** A teacher whose logits are the student's ranking disturbed: k best of it, as float32, normalised with its tail. */
function teacherRows(head: HeadProblem, options: { readonly k: number; readonly seed: number; readonly spread: number }): TargetRow[] {
  return Array.from({ length: head.R }, (_, r) => {
    const logQ_V = logSoftmax(normals(head.V, options.seed + r, options.spread));
    const ids_S = ranking(logQ_V).slice(0, options.k);
    const tail = logQ_V.reduce((sum, logQ, id) => (ids_S.includes(id) ? sum : sum + Math.exp(logQ)), 0);
    const normal = normaliseTargets({
      index: 0, offsets_R1: Int32Array.of(0, options.k), ids_S: Int32Array.from(ids_S), logProbs_S: Float32Array.from(ids_S, (id) => logQ_V[id]),
      tail_R: Float32Array.of(tail), actualLogProbs_R: Float32Array.of(0),
    });
    return { ids_S, logProbs_S: [...normal.logProbs_S], tail: normal.tail_R[0] };
  });
}

type Packed = readonly [offsets: Tensor, ids: Tensor, logProbs: Tensor, tail: Tensor];

function pack(targets: readonly TargetRow[] | undefined): Packed {
  if (!targets) return [NO_TENSOR, NO_TENSOR, NO_TENSOR, NO_TENSOR];
  const offsets = [0];
  for (const { ids_S } of targets) offsets.push(offsets[offsets.length - 1] + ids_S.length);
  const entries = offsets[targets.length];
  return [tensors.i32([targets.length + 1], offsets), tensors.i32([entries], targets.flatMap((row) => row.ids_S)),
    tensors.f32([entries], targets.flatMap((row) => row.logProbs_S)), tensors.f32([targets.length], targets.map((row) => row.tail))];
}

interface Results {
  readonly metrics: Tensor;
  readonly dhidden: Tensor;
  readonly dweight: Tensor;
}

function distill({ kind, head, scale_R, targets }: DistillProblem, startOfDweight?: Float64Array): Results {
  const { R, V, D } = head;
  const results = { metrics: tensors.f32([R, M]), dhidden: tensors.bf16([R, D]), dweight: tensors.f32([V, D], startOfDweight) };
  kernels.distillHead(LOSS_CODES[kind], tensors.bf16([R, D], head.hidden_RD), tensors.bf16([V, D], head.weight_VD), tensors.i32([R], head.labels_R),
    tensors.f32([R], scale_R), ...pack(targets), results.metrics, results.dhidden, results.dweight);
  return results;
}

const ORDINARY = headProblem({ R: 45, V: 1037, D: 64, seed: 11 });
const PEAKED = headProblem({ R: 40, V: 517, D: 48, seed: 21, spread: 14 }); // most of its mass lies on few ids
const MANY_ROWS = headProblem({ R: 1030, V: 70, D: 16, seed: 31 }); // more than one chunk on every CPU
const ONE_ROW = headProblem({ R: 1, V: 33, D: 24, seed: 5 });
const scales = (R: number): Float64Array => roundedToF32(normals(R, 77).map((x) => (0.5 + Math.abs(x)) / 64));

/** Supports that hold the student's own best ids, so that its tail falls under the floor in most rows. */
const ownBest = (head: HeadProblem, k: number): TargetRow[] =>
  teacherRows(head, { k, seed: 900, spread: 2 }).map((row, r) => ({ ...row, ids_S: ranking(logitsRow(head, r)).slice(0, k) }));

const CASES: Record<string, DistillProblem> = {
  'hard, no teacher': { kind: 'hard', head: ORDINARY, scale_R: scales(45) },
  'hard, with a teacher': { kind: 'hard', head: ORDINARY, scale_R: scales(45), targets: teacherRows(ORDINARY, { k: 64, seed: 400, spread: 2 }) },
  'forward_kl, k = 64': { kind: 'forward_kl', head: ORDINARY, scale_R: scales(45), targets: teacherRows(ORDINARY, { k: 64, seed: 400, spread: 3 }) },
  'forward_kl, k = 1': { kind: 'forward_kl', head: ORDINARY, scale_R: scales(45), targets: teacherRows(ORDINARY, { k: 1, seed: 400, spread: 3 }) },
  'forward_kl, k = V - 1': { kind: 'forward_kl', head: ORDINARY, scale_R: scales(45), targets: teacherRows(ORDINARY, { k: 1036, seed: 400, spread: 3 }) },
  'forward_kl, floored tail': { kind: 'forward_kl', head: PEAKED, scale_R: scales(40), targets: ownBest(PEAKED, 24) },
  'forward_kl, k = V': { kind: 'forward_kl', head: PEAKED, scale_R: scales(40), targets: teacherRows(PEAKED, { k: 517, seed: 600, spread: 2 }) },
  'reverse_kl, k = 64': { kind: 'reverse_kl', head: ORDINARY, scale_R: scales(45), targets: teacherRows(ORDINARY, { k: 64, seed: 400, spread: 3 }) },
  'reverse_kl, k = 1': { kind: 'reverse_kl', head: ORDINARY, scale_R: scales(45), targets: teacherRows(ORDINARY, { k: 1, seed: 400, spread: 3 }) },
  'reverse_kl, k = V - 1': { kind: 'reverse_kl', head: ORDINARY, scale_R: scales(45), targets: teacherRows(ORDINARY, { k: 1036, seed: 400, spread: 3 }) },
  'reverse_kl, floored tail': { kind: 'reverse_kl', head: PEAKED, scale_R: scales(40), targets: ownBest(PEAKED, 24) },
  'reverse_kl, k = V': { kind: 'reverse_kl', head: PEAKED, scale_R: scales(40), targets: teacherRows(PEAKED, { k: 517, seed: 600, spread: 2 }) },
  'reverse_kl, two chunks': { kind: 'reverse_kl', head: MANY_ROWS, scale_R: scales(1030), targets: teacherRows(MANY_ROWS, { k: 7, seed: 700, spread: 3 }) },
  'forward_kl, one row': { kind: 'forward_kl', head: ONE_ROW, scale_R: scales(1), targets: teacherRows(ONE_ROW, { k: 5, seed: 8, spread: 2 }) },
};

const table: Record<string, object> = {};
afterAll(() => {
  console.log(`distill_head against float64 with bf16 hidden states, weights and gradients: ${kernels.buildInfo()}`);
  console.table(table);
});

describe.each(Object.entries(CASES))('distill_head: %s', (name, given) => {
  it('agrees with float64 in metrics and gradients', () => {
    const { metrics, dhidden, dweight } = distill(given);
    const expected = distillReference(given.kind, given.head, given);
    const [actualHidden, actualWeight] = [tensors.values(dhidden), tensors.values(dweight)];
    const actualMetrics = tensors.values(metrics);
    const lossErrors = Array.from({ length: given.head.R }, (_, r) => Math.abs(actualMetrics[r * M] - expected.metrics_RM[r * M]) / Math.abs(expected.metrics_RM[r * M]));
    const row = {
      'dhidden 1 - cosine': 1 - cosine(actualHidden, expected.dhidden_RD), 'dhidden relative L2': relativeL2(actualHidden, expected.dhidden_RD),
      'dweight 1 - cosine': 1 - cosine(actualWeight, expected.dweight_VD), 'dweight relative L2': relativeL2(actualWeight, expected.dweight_VD),
      'loss relative error': Math.max(...lossErrors),
    };
    table[name] = Object.fromEntries(Object.entries(row).map(([column, value]) => [column, value.toExponential(1)]));
    expect(row['dhidden 1 - cosine']).toBeLessThan(1e-4);
    expect(row['dweight 1 - cosine']).toBeLessThan(1e-4);
    expect(row['dhidden relative L2']).toBeLessThan(1e-2);
    expect(row['dweight relative L2']).toBeLessThan(1e-2);
    const isNaNWhereExpected = expected.metrics_RM.every((value, i) => Number.isNaN(value) === Number.isNaN(actualMetrics[i]));
    expect(isNaNWhereExpected).toBe(true);
    expectClose(actualMetrics.map((value) => (Number.isNaN(value) ? 0 : value)), expected.metrics_RM.map((value) => (Number.isNaN(value) ? 0 : value)),
      { relative: 1e-5, absolute: 4e-6 });
  });
});

describe.each(['forward_kl, floored tail', 'reverse_kl, floored tail'])('the case %s', (name) => {
  it('has both floored and unfloored rows', () => {
    const { head, targets = [] } = CASES[name];
    const floored = targets.filter((row, r) => studentTail(logitsRow(head, r), row.ids_S) <= TAIL_FLOOR).length;
    expect(floored).toBeGreaterThan(5);
    expect(floored).toBeLessThan(head.R);
  });
});

describe('the closed forms', () => {
  const logits_V = normals(9, 3, 2);
  const few = { ids_S: [4, 0, 7], logProbs_S: [-1.2, -1.5, -2.5], tail: 1 - Math.exp(-1.2) - Math.exp(-1.5) - Math.exp(-2.5) };
  const floored = { ...few, ids_S: [8, 1, 0, 2, 3, 4, 5, 6], logProbs_S: [-1, -2, -2, -2.5, -3, -3, -4, -5], tail: 0.0179 };
  const cases: [string, LossKind, Float64Array, TargetRow][] = [
    ['hard', 'hard', logits_V, few],
    ['forward_kl', 'forward_kl', logits_V, few],
    ['reverse_kl', 'reverse_kl', logits_V, few],
    ['forward_kl with a floored tail', 'forward_kl', logits_V.map((z, id) => (id === 7 ? -20 : z)), floored],
    ['reverse_kl with a floored tail', 'reverse_kl', logits_V.map((z, id) => (id === 7 ? -20 : z)), floored],
  ];

  it.each(cases)('%s equal central differences', (_, kind, logits, given) => {
    const tail = 1 - given.logProbs_S.reduce((sum, logQ) => sum + Math.exp(logQ), 0);
    const row = { label: 2, target: { ...given, tail } };
    const moved = (id: number, step: number): number => lossReference(kind, logits.map((z, v) => (v === id ? z + step : z)), row);
    const differences = logits.map((__, id) => (moved(id, 1e-5) - moved(id, -1e-5)) / 2e-5);
    expectClose(logitGradientReference(kind, logits, row), differences, { absolute: 1e-9 });
  });
});

describe('a student scored by itself', () => {
  /** Weight rows are unit vectors, so that dhidden shows dz itself. */
  const V = 96;
  const identity = Float64Array.from({ length: V * V }, (_, i) => (i % (V + 1) === 0 ? 1 : 0));
  const seen: HeadProblem = { ...headProblem({ R: 70, V, D: V, seed: 41 }), weight_VD: identity };
  const wide = headProblem({ R: 300, V: 3001, D: 64, seed: 51, spread: 3 });

  function ownTargets(head: HeadProblem, k: number): TargetRow[] {
    const { R, V: ids, D } = head;
    const [topIds, topLogProbs, labels, tail] = [tensors.i32([R, k]), tensors.f32([R, k]), tensors.f32([R]), tensors.f32([R])];
    kernels.scoreHead(tensors.bf16([R, D], head.hidden_RD), tensors.bf16([ids, D], head.weight_VD), tensors.i32([R], head.labels_R), topIds, topLogProbs, labels, tail);
    const [best, logProbs, labelLogProbs, tails] = [topIds, topLogProbs, labels, tail].map((tensor) => tensors.values(tensor));
    return Array.from({ length: R }, (_, r) => {
      const ids_S = [...best.slice(r * k, (r + 1) * k)];
      const logProbs_S = [...logProbs.slice(r * k, (r + 1) * k)];
      if (!ids_S.includes(head.labels_R[r])) {
        ids_S.push(head.labels_R[r]);
        logProbs_S.push(labelLogProbs[r]);
      }
      const normal = normaliseTargets({
        index: 0, offsets_R1: Int32Array.of(0, ids_S.length), ids_S: Int32Array.from(ids_S), logProbs_S: Float32Array.from(logProbs_S),
        tail_R: Float32Array.of(tails[r]), actualLogProbs_R: Float32Array.of(0),
      });
      return { ids_S, logProbs_S: [...normal.logProbs_S], tail: normal.tail_R[0] };
    });
  }

  it.each(['forward_kl', 'reverse_kl'] as const)('has no %s and agrees everywhere', (kind) => {
    const { metrics } = distill({ kind, head: wide, scale_R: new Float64Array(300).fill(1), targets: ownTargets(wide, 64) });
    const rows = tensors.values(metrics);
    const losses = Array.from({ length: 300 }, (_, r) => rows[r * M]);
    expect(Math.abs(losses.reduce((sum, loss) => sum + loss, 0) / 300)).toBeLessThan(1e-6);
    expect(Math.max(...losses.map(Math.abs))).toBeLessThan(2e-6);
    expect(losses.every((_, r) => rows[r * M + 6] === 1)).toBe(true);
  });

  it.each(['forward_kl', 'reverse_kl'] as const)('has no gradient of %s', (kind) => {
    const { dhidden } = distill({ kind, head: seen, scale_R: new Float64Array(70).fill(1), targets: ownTargets(seen, 16) });
    expect(Math.max(...tensors.values(dhidden).map(Math.abs))).toBeLessThan(2e-6);
  });

  it('still has none when rows fall into other chunks', () => {
    const targets = ownTargets(wide, 64);
    const head = { ...wide, R: 3, hidden_RD: wide.hidden_RD.slice(290 * 64, 293 * 64), labels_R: wide.labels_R.slice(290, 293) };
    const rows = tensors.values(distill({ kind: 'forward_kl', head, scale_R: new Float64Array(3).fill(1), targets: targets.slice(290, 293) }).metrics);
    expect(Math.max(Math.abs(rows[0]), Math.abs(rows[M]), Math.abs(rows[2 * M]))).toBeLessThan(2e-6);
  });
});

describe('distill_head', () => {
  const given: DistillProblem = { ...CASES['forward_kl, k = 64'], head: ORDINARY };

  it('adds to dweight and overwrites dhidden', () => {
    const start = roundedToF32(normals(ORDINARY.V * ORDINARY.D, 5));
    const fresh = distill(given);
    const added = distill(given, start);
    expectClose(tensors.values(added.dweight).map((value, i) => value - start[i]), tensors.values(fresh.dweight), { absolute: 1e-6 });
    expectSameBits(tensors.bits(added.dhidden), tensors.bits(fresh.dhidden));
  });

  it('gives the same metrics without gradients', () => {
    const { R, V, D } = given.head;
    const metrics = tensors.f32([R, M]);
    kernels.distillHead(LOSS_CODES.forward_kl, tensors.bf16([R, D], given.head.hidden_RD), tensors.bf16([V, D], given.head.weight_VD),
      tensors.i32([R], given.head.labels_R), tensors.f32([R], given.scale_R), ...pack(given.targets), metrics, NO_TENSOR, NO_TENSOR);
    expectSameBits(tensors.bits(metrics), tensors.bits(distill(given).metrics));
  });

  it('takes the smaller id as most probable among equals', () => {
    const head: HeadProblem = { R: 2, V: 4, D: 1, hidden_RD: Float64Array.of(1, 1), weight_VD: Float64Array.of(0, 2, 1, 2), labels_R: Int32Array.of(0, 0) };
    const half = Math.log(0.5);
    const targets = [{ ids_S: [3, 1], logProbs_S: [half, half], tail: TAIL_FLOOR }, { ids_S: [3, 1], logProbs_S: [half, half - 1], tail: TAIL_FLOOR }];
    const rows = tensors.values(distill({ kind: 'forward_kl', head, scale_R: Float64Array.of(1, 1), targets }).metrics);
    expect([rows[6], rows[M + 6]]).toEqual([1, 0]);
  });

  it('does nothing for no rows', () => {
    const head = headProblem({ R: 0, V: 9, D: 4, seed: 1 });
    const { metrics, dweight } = distill({ kind: 'reverse_kl', head, scale_R: new Float64Array(0), targets: [] });
    expect(tensors.values(metrics)).toHaveLength(0);
    expect(tensors.values(dweight).every((value) => value === 0)).toBe(true);
  });

  it('repeats its bits at 2, 8 and 16 threads', () => {
    expectRepeatable(kernels, () => {
      const { metrics, dhidden, dweight } = distill(given);
      const bits = [tensors.bits(metrics), tensors.bits(dhidden), tensors.bits(dweight)];
      tensors.dispose();
      return bits;
    });
  });
});

describe('refusals of distill_head', () => {
  const head = headProblem({ R: 2, V: 6, D: 4, seed: 1 });
  const targets = [{ ids_S: [1, 2], logProbs_S: [-1, -1], tail: 0.264 }, { ids_S: [0, 5], logProbs_S: [-1, -1], tail: 0.264 }];

  interface Arguments {
    readonly loss: number;
    readonly labels: readonly number[];
    readonly offsets: readonly number[] | undefined;
    readonly ids: readonly number[] | undefined;
    readonly logProbs: readonly number[] | undefined;
    readonly tail: readonly number[] | undefined;
    readonly dhidden: 'given' | 'absent';
  }
  const right: Arguments = {
    loss: LOSS_CODES.forward_kl, labels: [0, 5], offsets: [0, 2, 4], ids: [1, 2, 0, 5], logProbs: targets.flatMap((row) => row.logProbs_S),
    tail: [0.264, 0.264], dhidden: 'given',
  };

  function code(change: Partial<Arguments>): string {
    const given = { ...right, ...change };
    const i32 = (values: readonly number[] | undefined): Tensor => (values ? tensors.i32([values.length], values) : NO_TENSOR);
    const f32 = (values: readonly number[] | undefined): Tensor => (values ? tensors.f32([values.length], values) : NO_TENSOR);
    return codeOf(() => kernels.distillHead(given.loss, tensors.bf16([2, 4], head.hidden_RD), tensors.bf16([6, 4], head.weight_VD), i32(given.labels),
      tensors.f32([2], [1, 1]), i32(given.offsets), i32(given.ids), f32(given.logProbs), f32(given.tail), tensors.f32([2, M]),
      given.dhidden === 'given' ? tensors.bf16([2, 4]) : NO_TENSOR, tensors.f32([6, 4])));
  }
  const noTargets = { offsets: undefined, ids: undefined, logProbs: undefined, tail: undefined };

  it('accepts what is right', () => {
    expect(code({})).toBe('none');
    expect(code({ loss: LOSS_CODES.hard, ...noTargets })).toBe('none');
  });

  it.each([
    ['an unknown loss', { loss: 3 }, 'kernels.bad_value'],
    ['a label outside the vocabulary', { labels: [0, 6] }, 'kernels.bad_value'],
    ['a support id outside the vocabulary', { ids: [1, 2, 0, -1] }, 'kernels.bad_value'],
    ['a row without support', { offsets: [0, 0, 4] }, 'kernels.bad_value'],
    ['offsets that leave the support', { offsets: [0, 9, 4] }, 'kernels.bad_value'],
    ['offsets that end early', { offsets: [0, 2, 3] }, 'kernels.bad_value'],
    ['too few offsets', { offsets: [0, 4] }, 'kernels.bad_shape'],
    ['log-probs of another length', { logProbs: [-1] }, 'kernels.bad_shape'],
    ['a tail of 0', { tail: [0, 0.264] }, 'kernels.bad_value'],
    ['a KL without targets', noTargets, 'kernels.bad_value'],
    ['half of the targets', { tail: undefined }, 'kernels.bad_value'],
    ['one gradient without the other', { dhidden: 'absent' as const }, 'kernels.bad_value'],
  ])('refuses %s', (_, change, expected) => expect(code(change)).toBe(expected));
});
