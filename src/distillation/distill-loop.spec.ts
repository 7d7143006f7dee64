import { describe, expect, it } from 'vitest';
import { planDistill, usableSamples } from './distill-loop.js';
import type { TargetedSample } from './packing.js';
import { parseSpec } from './spec.js';

const sample = (tokens: number, finish: TargetedSample['finish']): TargetedSample => ({
  prompt_T: Int32Array.of(1),
  completion_T: new Int32Array(tokens),
  finish,
  targets: { index: 0, offsets_R1: new Int32Array(tokens + 1), ids_S: new Int32Array(0), logProbs_S: new Float32Array(0), tail_R: new Float32Array(tokens), actualLogProbs_R: new Float32Array(tokens) },
});
const samples = [sample(3, 'stop'), sample(8, 'length'), sample(5, 'stop')];

describe('usableSamples', () => {
  it('keeps answers that were cut off for the KL losses, which need no end', () => {
    expect(usableSamples(samples, { kind: 'forward_kl', truncation: 'tail_bucket' })).toEqual({ usable: samples, truncatedDropped: 0 });
  });

  it('drops and counts them for hard labels', () => {
    expect(usableSamples(samples, { kind: 'hard' })).toEqual({ usable: [samples[0], samples[2]], truncatedDropped: 1 });
  });
});

describe('planDistill', () => {
  it('passes over all loss tokens as often as there are epochs', () => {
    const { distill } = parseSpec({
      model: 'm', training_file: 't', validation_file: 'v',
      method: { type: 'distillation', distillation: { teacher: { dialect: 'vllm', base_url: 'http://t', model: 'x' }, distill: { epochs: 4, loss_tokens_per_step: 16 } } },
    }).method.distillation;

    const steps = planDistill(samples, { distill, seed: 1 });

    expect(steps.length).toBe(4);
    expect(steps.reduce((sum, { lossTokens }) => sum + lossTokens, 0)).toBe(4 * 16);
  });
});
