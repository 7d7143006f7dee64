import { expect, it } from 'vitest';
import { BatchInvalid, checkBatch, type PackedBatch, type PackedTargets } from './batch.js';

const VOCAB_SIZE = 10;

// Two sequences, of three tokens and two, whose every row but the last carries loss.
const targets: PackedTargets = {
  offsets_R1: Int32Array.of(0, 1, 3, 4), ids_E: Int32Array.of(1, 2, 9, 4), logProbs_E: Float32Array.of(-0.1, -1, -1, 0), tail_R: Float32Array.of(0.1, 0.3, 1e-6),
};
const batch: PackedBatch = {
  tokens_N: Int32Array.of(0, 1, 9, 3, 4), cuSeqlens_S1: Int32Array.of(0, 3, 5), rows_R: Int32Array.of(0, 1, 3), weights_R: Float32Array.of(1, 1, 0.5), labels_R: Int32Array.of(1, 9, 4), targets,
};

function withTargets(changed: Partial<PackedTargets>): Partial<PackedBatch> {
  return { targets: { ...targets, ...changed } };
}

it('accepts a batch that keeps the rules, with targets and without', () => {
  checkBatch(batch, VOCAB_SIZE);
  checkBatch({ ...batch, targets: undefined }, VOCAB_SIZE);
});

const idRange = 'ids of this model lie in [0, 10)';
const broken: readonly (readonly [string, Partial<PackedBatch>])[] = [
  ['cuSeqlens_S1 must run from 0 to the 5 tokens of the batch', { cuSeqlens_S1: Int32Array.of(0, 3) }],
  ['cuSeqlens_S1 must run from 0 to the 5 tokens of the batch', { cuSeqlens_S1: Int32Array.of(1, 5) }],
  ['cuSeqlens_S1 must run from 0 to the 0 tokens of the batch', { tokens_N: new Int32Array(0), cuSeqlens_S1: Int32Array.of(0) }],
  ['cuSeqlens_S1[2] is 3; each sequence needs at least one token', { cuSeqlens_S1: Int32Array.of(0, 3, 3, 5) }],
  [`tokens_N[2] is 10; ${idRange}`, { tokens_N: Int32Array.of(0, 1, 10, 3, 4) }],
  [`tokens_N[4] is -1; ${idRange}`, { tokens_N: Int32Array.of(0, 1, 2, 3, -1) }],
  ['rows_R, weights_R and labels_R must have one length; they have 3, 2, 3', { weights_R: Float32Array.of(1, 1) }],
  ['rows_R, weights_R and labels_R must have one length; they have 3, 3, 4', { labels_R: Int32Array.of(1, 2, 4, 5) }],
  ['rows_R[0] is -1; rows must ascend within [0, 5)', { rows_R: Int32Array.of(-1, 1, 3) }],
  ['rows_R[2] is 5; rows must ascend within [0, 5)', { rows_R: Int32Array.of(0, 1, 5) }],
  ['rows_R[1] is 0; rows must ascend within [0, 5)', { rows_R: Int32Array.of(0, 0, 3) }],
  ['rows_R[1] is the last row of its sequence, which predicts nothing', { rows_R: Int32Array.of(0, 2, 3) }],
  ['rows_R[2] is the last row of its sequence, which predicts nothing', { rows_R: Int32Array.of(0, 1, 4) }],
  ['weights_R[1] is 0; it must be finite and > 0', { weights_R: Float32Array.of(1, 0, 1) }],
  ['weights_R[0] is NaN; it must be finite and > 0', { weights_R: Float32Array.of(NaN, 1, 1) }],
  ['weights_R[2] is Infinity; it must be finite and > 0', { weights_R: Float32Array.of(1, 1, Infinity) }],
  [`labels_R[1] is 10; ${idRange}`, { labels_R: Int32Array.of(1, 10, 4) }],
  [`labels_R[2] is -1; ${idRange}`, { labels_R: Int32Array.of(1, 2, -1) }],
  ['offsets_R1 must have 4 entries from 0 to 4', withTargets({ offsets_R1: Int32Array.of(0, 1, 4) })],
  ['offsets_R1 must have 4 entries from 0 to 4', withTargets({ offsets_R1: Int32Array.of(1, 2, 3, 4) })],
  ['offsets_R1 must have 4 entries from 0 to 4', withTargets({ offsets_R1: Int32Array.of(0, 1, 2, 3) })],
  ['logProbs_E must match ids_E, and tail_R must match rows_R', withTargets({ logProbs_E: Float32Array.of(-1, -1, -1) })],
  ['logProbs_E must match ids_E, and tail_R must match rows_R', withTargets({ tail_R: Float32Array.of(0.1, 0.1) })],
  ['target row 1 has an empty support', withTargets({ offsets_R1: Int32Array.of(0, 1, 1, 4) })],
  ['tail_R[1] is 0; it must lie inside (0, 1)', withTargets({ tail_R: Float32Array.of(0.1, 0, 0.1) })],
  ['tail_R[2] is 1; it must lie inside (0, 1)', withTargets({ tail_R: Float32Array.of(0.1, 0.1, 1) })],
  ['tail_R[0] is NaN; it must lie inside (0, 1)', withTargets({ tail_R: Float32Array.of(NaN, 0.1, 0.1) })],
  [`ids_E[3] is 10; ${idRange}`, withTargets({ ids_E: Int32Array.of(1, 2, 9, 10) })],
  [`ids_E[0] is -1; ${idRange}`, withTargets({ ids_E: Int32Array.of(-1, 2, 9, 4) })],
  ['logProbs_E[2] is 0.5; a log-probability is at most 0', withTargets({ logProbs_E: Float32Array.of(-1, -1, 0.5, -1) })],
  ['logProbs_E[3] is NaN; a log-probability is at most 0', withTargets({ logProbs_E: Float32Array.of(-1, -1, -1, NaN) })],
];

it.each(broken)('refuses: %s', (message, changed) => {
  expect(() => checkBatch({ ...batch, ...changed }, VOCAB_SIZE)).toThrow(new BatchInvalid(message));
});
