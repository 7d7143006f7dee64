import { expect, test } from 'vitest';
import { packIds } from './packing.js';
import { commonLength, compareIds, shareBeginnings, type RowPlan } from './shared-beginnings.js';

/** A row takes 1 + (3 + 1) + 3 = 8 elements, of which attention has 4 once more a token: rows are shared where half of them or more are won. */
const SHAPE = { hiddenSize: 1, intermediateSize: 1, heads: 1, kvHeads: 1, headDim: 1 };
/** The same with 4 in 103. */
const WIDE = { ...SHAPE, hiddenSize: 96 };

const ids = (...values: number[]): Int32Array => Int32Array.from(values);
const planned = (sequences: Int32Array[], shape = WIDE): RowPlan => shareBeginnings(packIds(sequences), shape);

/** What each token reads: the row that stands for it. */
const readBack = ({ tokens_U, positions_U, shared }: RowPlan): number[][] => Array.from(shared!.rowOf_N, (row) => [tokens_U[row], positions_U[row]]);

test('runs what sequences begin with alike once, at every depth', () => {
  const sequences = [ids(1, 2, 3, 4), ids(1, 2, 9), ids(7), ids(1, 2, 3, 5), ids(1, 2, 3, 4), ids(2, 3, 4)];
  const plan = planned(sequences);
  expect(plan.tokens_U).toHaveLength(4 + 1 + 1 + 1 + 0 + 3);
  expect(readBack(plan)).toEqual(sequences.flatMap((sequence) => Array.from(sequence, (id, t) => [id, t])));
});

test('names for each row a token that it stands for', () => {
  const { tokenOf_U, rowOf_N } = planned([ids(1, 2, 3), ids(1, 2, 4), ids(1, 2, 3)]).shared!;
  expect([...tokenOf_U].sort((a, b) => a - b)).toEqual([0, 1, 2, 5]);
  expect(tokenOf_U.map((token) => rowOf_N[token])).toEqual(Int32Array.from(tokenOf_U, (_, row) => row));
});

test('leaves tokens as they lie where nothing or too little is shared', () => {
  expect(planned([ids(1, 2), ids(2, 1, 3)])).toEqual({ tokens_U: ids(1, 2, 2, 1, 3), positions_U: ids(0, 1, 0, 1, 2) });
  const pair = (shared: number): Int32Array[] => [0, 1].map((s) => Int32Array.from({ length: 10 }, (_, t) => (t < shared ? t : 20 + 10 * s + t)));
  expect(planned(pair(10), SHAPE).shared?.tokenOf_U).toHaveLength(10);
  expect(planned(pair(9), SHAPE).shared).toBeUndefined();
});

test('orders ids so that like beginnings stand together', () => {
  const sorted = [ids(300, 1), ids(44), ids(300), ids(44, 5), ids(300, 1, 2)].sort(compareIds);
  const neighbours = sorted.slice(1).map((sequence, s) => commonLength(sequence, sorted[s]));
  expect(neighbours.reduce((sum, length) => sum + length, 0)).toBe(1 + 1 + 2);
});
