import { describe, expect, it } from 'vitest';
import { normaliseTargets } from '../tokens/target.js';
import { decodeShard, encodeShard, type ShardManifest, type ShardSample } from './shards.js';

const about: ShardManifest = {
  format: 'limbeck-targets-1', teacher: 't', tokenizer: 'k', template: 'c', mode: 'plain', tau: '1', k: '2', sampling: '{}', request: 'r', empty: '3', seconds: '1.500',
};

/** Two samples with rows of unequal lengths and log-probs that float16 holds exactly. */
const samples: ShardSample[] = [
  {
    origin: 4,
    prompt_T: Int32Array.of(1, 200_000, 3),
    completion_T: Int32Array.of(262_143, 2),
    finish: 'stop',
    targets: {
      index: 0,
      offsets_R1: Int32Array.of(0, 3, 5),
      ids_S: Int32Array.of(7, 9, 262_143, 2, 0),
      logProbs_S: Float32Array.of(-0.5, -1.5, -8, -0.25, -3),
      tail_R: Float32Array.of(0.1, 1e-9),
      actualLogProbs_R: Float32Array.of(-8, -0.25),
    },
  },
  {
    origin: 9,
    prompt_T: Int32Array.of(5),
    completion_T: Int32Array.of(6),
    finish: 'length',
    targets: {
      index: 1,
      offsets_R1: Int32Array.of(0, 2),
      ids_S: Int32Array.of(6, 1),
      logProbs_S: Float32Array.of(-0.125, -4),
      tail_R: Float32Array.of(0.05),
      actualLogProbs_R: Float32Array.of(-0.123456789),
    },
  },
];

describe('target shards', () => {
  it('give back every sample and the manifest', () => {
    const { samples: read, manifest } = decodeShard(encodeShard(samples, about), 'shard');

    expect(read).toEqual(samples);
    expect(manifest).toEqual(about);
  });

  it('round log-probs to float16 and keep tails and sampled log-probs in float32', () => {
    const [{ targets }] = decodeShard(encodeShard([{ ...samples[1], targets: { ...samples[1].targets, logProbs_S: Float32Array.of(-0.1, -9.7) } }], about), 'shard').samples;

    expect(targets.logProbs_S[0]).toBe(Math.fround(-0.0999755859375));
    expect(targets.logProbs_S[1]).toBe(-9.703125);
    expect(targets.actualLogProbs_R[0]).toBe(Math.fround(-0.123456789));
  });

  it('sum to 1 with the floored tail once normalised on reading', () => {
    const [{ targets }] = decodeShard(encodeShard(samples, about), 'shard').samples;
    const { logProbs_S, tail_R } = normaliseTargets(targets);

    for (const row of [0, 1]) {
      const mass = logProbs_S.subarray(targets.offsets_R1[row], targets.offsets_R1[row + 1]).reduce((sum, logProb) => sum + Math.exp(logProb), 0);
      expect(mass + tail_R[row]).toBeCloseTo(1, 6);
    }
    expect(tail_R[1]).toBeCloseTo(1e-6, 12);
  });

  it('hold no sample at all, too', () => {
    expect(decodeShard(encodeShard([], about), 'shard').samples).toEqual([]);
  });

  it('notice every flipped bit', () => {
    const bytes = encodeShard(samples, about);
    const unnoticed: number[] = [];
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = Uint8Array.from(bytes);
      damaged[bit >> 3] ^= 1 << (bit & 7);
      if (codeOf(() => decodeShard(damaged, 'shard')) !== 'distillation.shard_damaged') unnoticed.push(bit);
    }

    expect(unnoticed).toEqual([]);
  });

  it.each([0, 7, 100])('notice an end %d bytes too early', (missing) => {
    const bytes = encodeShard(samples, about);
    const cut = missing === 0 ? new Uint8Array(0) : bytes.subarray(0, bytes.length - missing);

    expect(() => decodeShard(cut, 'shards/train-00000.safetensors')).toThrow(/shards\/train-00000\.safetensors is damaged/);
  });

  it('refuse ids that 18 bits cannot hold', () => {
    const [first] = samples;
    const wide = { ...first, targets: { ...first.targets, ids_S: Int32Array.of(7, 9, 262_144, 2, 0) } };

    expect(() => encodeShard([wide], about)).toThrow(expect.objectContaining({ code: 'distillation.shard_invalid' }));
  });
});

function codeOf(work: () => unknown): unknown {
  try {
    work();
    return undefined;
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error;
  }
}
