import { describe, expect, it } from 'vitest';
import { checkBatch } from '../tokens/batch.js';
import { packBatch, type TargetedSample } from './packing.js';

/** A sample whose target rows hold the completion id and id 9, half and half of what a tail of 0.2 leaves. */
function sample(prompt: number[], completion: number[]): TargetedSample {
  const rows = completion.length;
  return {
    prompt_T: Int32Array.from(prompt),
    completion_T: Int32Array.from(completion),
    finish: 'stop',
    targets: {
      index: 0,
      offsets_R1: Int32Array.from({ length: rows + 1 }, (_, row) => 2 * row),
      ids_S: Int32Array.from(completion.flatMap((id) => [id, 9])),
      logProbs_S: new Float32Array(2 * rows).fill(Math.log(0.4)),
      tail_R: new Float32Array(rows).fill(0.2),
      actualLogProbs_R: new Float32Array(rows).fill(Math.log(0.4)),
    },
  };
}

describe('packBatch', () => {
  const batch = packBatch([sample([5, 6], [7, 2]), sample([5], [8, 7, 2])], 'forward_kl');

  it('lets the row before each completion id carry loss, the stop id included, and no prompt row', () => {
    checkBatch(batch, 10);
    expect([...batch.tokens_N]).toEqual([5, 6, 7, 2, 5, 8, 7, 2]);
    expect([...batch.cuSeqlens_S1]).toEqual([0, 4, 8]);
    expect([...batch.rows_R]).toEqual([1, 2, 4, 5, 6]);
    expect([...batch.labels_R]).toEqual([7, 2, 8, 7, 2]);
    expect([...batch.weights_R]).toEqual([1, 1, 1, 1, 1]);
  });

  it('puts the targets of each row beside it, normalised', () => {
    expect([...(batch.targets?.offsets_R1 ?? [])]).toEqual([0, 2, 4, 6, 8, 10]);
    expect([...(batch.targets?.ids_E ?? [])]).toEqual([7, 9, 2, 9, 8, 9, 7, 9, 2, 9]);
    for (const logProb of batch.targets?.logProbs_E ?? []) expect(logProb).toBeCloseTo(Math.log(0.4), 6);
    expect(batch.targets?.tail_R[4]).toBeCloseTo(0.2, 6);
  });

  it('gives the loss hard no targets', () => {
    expect(packBatch([sample([5], [7])], 'hard').targets).toBeUndefined();
  });
});
