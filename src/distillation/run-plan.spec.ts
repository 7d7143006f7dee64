import { describe, expect, it } from 'vitest';
import type { ModelConfig } from '../model-files/config.js';
import { planOf } from './run-plan.js';
import { parseSpec } from './spec.js';

const config: ModelConfig = {
  architecture: 'llama', vocabSize: 300, hiddenSize: 8, intermediateSize: 16, layers: 2, heads: 2, kvHeads: 1, headDim: 4, rmsNormEps: 1e-5, ropeTheta: 1e4, ropeScaling: null, maxPositions: 100,
  tiedEmbeddings: true, bosId: null, eosIds: [2], padId: null,
};

const prompts = (...lengths: readonly number[]) => lengths.map((length) => ({ ids_T: new Int32Array(length) }));

const plan = (controls: 'none' | 'all') => {
  const distillation = {
    teacher: { dialect: 'vllm', base_url: 'http://t', model: 'x' },
    collect: { samples_per_prompt: 2, max_tokens: 10 },
    distill: { epochs: 3, loss_tokens_per_step: 30 },
    align: { steps: 4, prompts_per_step: 5, max_tokens: 7 },
    evaluate: { prompts: 2, rollouts_per_prompt: 2, max_tokens: 6 },
    controls,
  };
  const spec = parseSpec({ model: 'm', training_file: 't', validation_file: 'v', method: { type: 'distillation', distillation } });
  return planOf({ spec, config, training: prompts(4, 8), heldOut: prompts(3, 5, 90) }, 4321);
};

describe('planOf', () => {
  it('foresees steps, requests and tokens with every completion at its limit', () => {
    const collected = 2 * (14 + 18);
    const measured = 9 + 11;
    const rolledOut = 20 * (8 + 7);

    expect(plan('none')).toMatchObject({
      steps: { distill_at_most: 4, align: 4 },
      teacher_requests: 4 + 2 + 3 * 4 + 20,
      tokens: { teacher_at_most: collected + measured * (1 + 6) + rolledOut, student_at_most: 3 * collected + rolledOut + 3 * 3 * measured },
    });
  });

  it('counts the trials of the controls', () => {
    expect(plan('all').teacher_requests - plan('none').teacher_requests).toBe(3 * 4 + 2);
    expect(plan('all').tokens.student_at_most).toBeGreaterThan(plan('none').tokens.student_at_most);
  });

  it('foresees whole bytes of disk, and repeats those of memory', () => {
    const { memory_bytes, disk_bytes } = plan('none');

    expect(memory_bytes).toBe(4321);
    expect(Number.isInteger(disk_bytes)).toBe(true);
    expect(disk_bytes).toBeGreaterThan(1000);
  });
});
