import { expect, test } from 'vitest';
import { groupByTokens, packedPositions, packIds } from './packing.js';

test('packs sequences end to end and counts positions from each start', () => {
  const { tokens_N, cuSeqlens_S1 } = packIds([Int32Array.of(7, 8, 9), Int32Array.of(5), Int32Array.of(3, 4)]);
  expect([...tokens_N]).toEqual([7, 8, 9, 5, 3, 4]);
  expect([...cuSeqlens_S1]).toEqual([0, 3, 4, 6]);
  expect([...packedPositions(cuSeqlens_S1)]).toEqual([0, 1, 2, 0, 0, 1]);
});

test('groups consecutive items up to the limit and lets a longer one stand alone', () => {
  const lengths = [3, 3, 2, 9, 1, 7];
  expect(groupByTokens(lengths, (length) => length, 8)).toEqual([[3, 3, 2], [9], [1, 7]]);
  expect(groupByTokens([], (length: number) => length, 8)).toEqual([]);
});
