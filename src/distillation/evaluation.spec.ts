import { describe, expect, it } from 'vitest';
import { differences, summarise, type EvaluationRecord, type PromptRecord } from './evaluation-record.js';
import { normaliseAnswer } from './evaluation.js';
import { Unigram } from './unigram.js';

const text = { rows: 2, forward_kl: 1, agreement: 1, student_entropy: 4, teacher_entropy: 2, tail_mass: 0.2 };
const rollout = { tokens: 4, log_ratio: 2, bucketed_reverse_kl: 1, finish: 'stop', loops: false } as const;
const record = (...prompts: PromptRecord[]): EvaluationRecord => ({ label: 'x', prompts, account: { seconds: 0, tokens: 0, teacher_calls: 0 } });

describe('summarise', () => {
  it('averages over tokens, and over rollouts what is said of whole rollouts', () => {
    const long = { text: { ...text, rows: 6, forward_kl: 7 }, rollouts: [{ tokens: 12, log_ratio: 2, bucketed_reverse_kl: 3, finish: 'length' as const, loops: true }] };

    const evaluation = summarise(record({ text, rollouts: [rollout] }, long), 7);

    expect(evaluation).toMatchObject({
      prompts: 2,
      forward_kl_teacher_text: 1,
      reverse_kl_own_rollouts: 0.25,
      bucketed_reverse_kl_own_rollouts: 0.25,
      top1_agreement: 0.25,
      mean_length: 8,
      truncated_share: 0.5,
      loop_share: 0.5,
      eos_share: 0.5,
    });
    expect(evaluation.forward_kl_teacher_text_low).toBeCloseTo(0.5, 12);
    expect(evaluation.forward_kl_teacher_text_high).toBeCloseTo(7 / 6, 12);
    expect(evaluation.accuracy).toBeUndefined();
  });

  it('counts right answers over the prompts that carry one', () => {
    const answered = (correct: boolean) => ({ text, rollouts: [{ ...rollout, correct }] });

    expect(summarise(record({ text, rollouts: [rollout] }, answered(true), answered(true), answered(false)), 7).accuracy).toBeCloseTo(2 / 3, 12);
  });
});

describe('summarise of several rollouts to a prompt', () => {
  it('counts every token of every rollout once', () => {
    const second = { ...rollout, tokens: 12, log_ratio: 6, loops: true };

    const evaluation = summarise(record({ text, rollouts: [rollout, second] }), 7);

    expect(evaluation).toMatchObject({ prompts: 1, reverse_kl_own_rollouts: 0.5, mean_length: 8, loop_share: 0.5 });
  });
});

describe('differences', () => {
  it('pairs prompts', () => {
    const before = record(...[1, 5, 9].map((log_ratio) => ({ text, rollouts: [{ ...rollout, log_ratio }] })));
    const after = record(...[0.6, 4.6, 8.6].map((log_ratio) => ({ text: { ...text, forward_kl: 2 }, rollouts: [{ ...rollout, log_ratio }] })));

    const { forwardKl, reverseKl } = differences({ before, after }, 7);

    expect(forwardKl).toEqual({ value: 0.5, low: 0.5, high: 0.5 });
    for (const bound of [reverseKl.value, reverseKl.low, reverseKl.high]) expect(bound).toBeCloseTo(-0.1, 12);
  });
});

describe('normaliseAnswer', () => {
  it('forgives case, spaces and outer punctuation only', () => {
    expect(normaliseAnswer('  "The  Sun." \n')).toBe('the sun');
    expect(normaliseAnswer('3.5')).toBe('3.5');
    expect(normaliseAnswer('sun')).not.toBe(normaliseAnswer('the sun'));
  });
});

describe('Unigram', () => {
  const unigram = new Unigram([Int32Array.of(1, 1, 3), Int32Array.of(1)], 4);

  it('adds one to every count', () => {
    expect([0, 1, 2, 3].map((id) => Math.exp(unigram.logProb(id)))).toEqual([1 / 8, 4 / 8, 1 / 8, 2 / 8].map((p) => expect.closeTo(p, 12)));
  });

  it('draws ids where the cumulative probability passes the uniform', () => {
    expect([0, 0.12, 0.125, 0.6249, 0.625, 0.75, 0.9999].map((uniform) => unigram.draw(uniform))).toEqual([0, 0, 1, 1, 2, 3, 3]);
  });

  it('is compared in the bucket of the support, as an engine is', () => {
    const block = {
      index: 0,
      offsets_R1: Int32Array.of(0, 2, 3),
      ids_S: Int32Array.of(3, 1, 1),
      logProbs_S: Float32Array.of(Math.log(0.5), Math.log(0.3), Math.log(0.6)),
      tail_R: Float32Array.of(0.2, 0.4),
      actualLogProbs_R: Float32Array.of(0, 0),
    };
    const first = 0.5 * Math.log(0.5 / 0.25) + 0.3 * Math.log(0.3 / 0.5) + 0.2 * Math.log(0.2 / 0.25);
    const second = 0.6 * Math.log(0.6 / 0.5) + 0.4 * Math.log(0.4 / 0.5);

    const sums = unigram.compare(block);

    expect(sums.forward_kl).toBeCloseTo(first + second, 6);
    expect(sums.tail_mass).toBeCloseTo(0.75, 12);
    expect(sums.agreement).toBe(1);
    expect(sums.teacher_entropy).toBeCloseTo(-(0.5 * Math.log(0.5) + 0.3 * Math.log(0.3) + 0.2 * Math.log(0.2) + 0.6 * Math.log(0.6) + 0.4 * Math.log(0.4)), 6);
    expect(sums.student_entropy).toBeCloseTo(2 * (0.5 * Math.log(2) + 0.25 * Math.log(4) + 0.25 * Math.log(8)), 12);
  });
});
