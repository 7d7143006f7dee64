import { z } from 'zod';
import { meanInterval, meanOf, pairedDifference, type PromptMean } from './bootstrap.js';
import type { Difference, Evaluation } from './report.js';
import { accountSchema } from './run-state.js';

const count = z.number().min(0);

const promptRecord = z.strictObject({
  /** Sums over the rows of the prompt's teacher text; `rows` 0 when there is none. */
  text: z.strictObject({ rows: count, forward_kl: z.number(), agreement: count, student_entropy: z.number(), teacher_entropy: z.number(), tail_mass: z.number() }),
  /** Of the prompt's own rollout. `log_ratio` sums log p_student - log p_teacher over its tokens. */
  rollout: z.strictObject({
    tokens: count,
    log_ratio: z.number(),
    bucketed_reverse_kl: z.number().optional(),
    finish: z.enum(['stop', 'length']),
    loops: z.boolean(),
    /** Absent when the prompt carries no answer. */
    correct: z.boolean().optional(),
  }),
});

/** What was measured on one held-out prompt, in sums of nats, so that any mean and any interval can be made of it later. */
export type PromptRecord = z.output<typeof promptRecord>;

/** A committed evaluation, prompt by prompt. */
export const evaluationRecordSchema = z.strictObject({ label: z.string(), prompts: z.array(promptRecord).min(1), account: accountSchema });
/** An evaluation, prompt by prompt. */
export type EvaluationRecord = z.output<typeof evaluationRecordSchema>;

type Column = (record: PromptRecord) => number;
const textRows: Column = ({ text }) => text.rows;
const rolloutTokens: Column = ({ rollout }) => rollout.tokens;

/** Means and intervals of a record. @param seed of the run; equal records give equal intervals. */
export function summarise({ prompts }: EvaluationRecord, seed: number): Evaluation {
  const onText = (sum: Column): number => meanOf(promptMean(prompts, sum, textRows));
  const onRollouts = (sum: Column): number => meanOf(promptMean(prompts, sum, () => 1));
  const forward = meanInterval(forwardKl(prompts), seed);
  const reverse = meanInterval(reverseKl(prompts), seed);
  return {
    prompts: prompts.length,
    forward_kl_teacher_text: forward.value,
    forward_kl_teacher_text_low: forward.low,
    forward_kl_teacher_text_high: forward.high,
    reverse_kl_own_rollouts: reverse.value,
    reverse_kl_own_rollouts_low: reverse.low,
    reverse_kl_own_rollouts_high: reverse.high,
    top1_agreement: onText(({ text }) => text.agreement),
    mean_length: onRollouts(rolloutTokens),
    truncated_share: onRollouts(({ rollout }) => Number(rollout.finish === 'length')),
    loop_share: onRollouts(({ rollout }) => Number(rollout.loops)),
    eos_share: onRollouts(({ rollout }) => Number(rollout.finish === 'stop')),
    bucketed_reverse_kl_own_rollouts: known(meanOf(promptMean(prompts, ({ rollout }) => rollout.bucketed_reverse_kl ?? NaN, rolloutTokens))),
    student_entropy: onText(({ text }) => text.student_entropy),
    teacher_entropy: onText(({ text }) => text.teacher_entropy),
    tail_mass: onText(({ text }) => text.tail_mass),
    accuracy: known(meanOf(promptMean(prompts, ({ rollout }) => Number(rollout.correct ?? false), ({ rollout }) => Number(rollout.correct !== undefined)))),
  };
}

/** The two headline differences between evaluations of the same prompts. */
export function differences({ before, after }: { before: EvaluationRecord; after: EvaluationRecord }, seed: number): { forwardKl: Difference; reverseKl: Difference } {
  return {
    forwardKl: pairedDifference({ before: forwardKl(before.prompts), after: forwardKl(after.prompts) }, seed),
    reverseKl: pairedDifference({ before: reverseKl(before.prompts), after: reverseKl(after.prompts) }, seed),
  };
}

function forwardKl(prompts: readonly PromptRecord[]): PromptMean {
  return promptMean(prompts, ({ text }) => text.forward_kl, textRows);
}

function reverseKl(prompts: readonly PromptRecord[]): PromptMean {
  return promptMean(prompts, ({ rollout }) => rollout.log_ratio, rolloutTokens);
}

function promptMean(prompts: readonly PromptRecord[], sum: Column, count: Column): PromptMean {
  return { sums_P: prompts.map(sum), counts_P: prompts.map(count) };
}

function known(value: number): number | undefined {
  return Number.isNaN(value) ? undefined : value;
}
