import { expect, it } from 'vitest';
import { checkBatch } from '../../../tokens/batch.js';
import type { TargetBlock } from '../../../tokens/target.js';
import { onlySupport, packStep, packTargets, STEP, SUPPORT } from './workload.js';

const ROWS = STEP.length - STEP.promptTokens;
const BEST = 0.9 / SUPPORT;

/** A block of a whole sequence: even rows have the best ids alone (tail 0.1), odd ones the actual id behind them (0.04, tail 0.06). */
function block(index: number): TargetBlock {
  const widths = Array.from({ length: ROWS }, (_, row) => SUPPORT + (row % 2));
  const offsets_R1 = new Int32Array(ROWS + 1);
  for (const [row, width] of widths.entries()) offsets_R1[row + 1] = offsets_R1[row] + width;
  return {
    index,
    offsets_R1,
    ids_S: Int32Array.from(widths.flatMap((width, row) => Array.from({ length: width }, (_, entry) => 1000 * index + row + entry))),
    logProbs_S: Float32Array.from(widths.flatMap((width) => Array.from({ length: width }, (_, entry) => Math.log(entry < SUPPORT ? BEST : 0.04)))),
    tail_R: Float32Array.from(widths, (width) => (width === SUPPORT ? 0.1 : 0.06)),
    actualLogProbs_R: new Float32Array(ROWS).fill(Math.log(0.04)),
  };
}

it('moves the probability of an appended id to the tail', () => {
  const cut = onlySupport(block(2));
  expect([...cut.offsets_R1.subarray(0, 3)]).toEqual([0, SUPPORT, 2 * SUPPORT]);
  expect(cut.tail_R[0]).toBeCloseTo(0.1, 6);
  expect(cut.tail_R[1]).toBeCloseTo(0.1, 6);
  expect([...cut.ids_S.subarray(SUPPORT, SUPPORT + 2)]).toEqual([2001, 2002]);
  expect(cut.ids_S.length).toBe(ROWS * SUPPORT);
});

it('packs sequences and their blocks into a batch that an engine takes, every row behind the prompt with its target', () => {
  const sequences = [0, 1].map((s) => Int32Array.from({ length: STEP.length }, (_, t) => 100 * s + (t % 90)));
  const batch = packStep(sequences, packTargets([block(0), block(1)]));
  checkBatch(batch, 3000);
  expect(batch.rows_R.length).toBe(2 * ROWS);
  expect(batch.rows_R[0]).toBe(STEP.promptTokens - 1);
  expect(batch.rows_R[ROWS]).toBe(STEP.length + STEP.promptTokens - 1);
  expect(batch.labels_R[ROWS]).toBe(sequences[1][STEP.promptTokens]);
  const { offsets_R1, ids_E, logProbs_E, tail_R } = batch.targets!;
  expect(ids_E[offsets_R1[ROWS + 1]]).toBe(1001);
  const mass = tail_R[ROWS + 1] + logProbs_E.subarray(offsets_R1[ROWS + 1], offsets_R1[ROWS + 2]).reduce((sum, logProb) => sum + Math.exp(logProb), 0);
  expect(mass).toBeCloseTo(1, 5);
});
