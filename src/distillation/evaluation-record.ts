import { z } from 'zod';
import { meanInterval, meanOf, pairedDifference, type PromptMean } from './bootstrap.js';
import type { Difference, Evaluation } from './report.js';
import { accountSchema } from './run-state.js';

const count = z.number().min(0);

const promptRecord = z.strictObject({
  /** Sums over the rows of the prompt's teacher text; `rows` 0 when there is none. */
  text: z.strictObject({ rows: count, forward_kl: z.number(), agreement: count, student_entropy: z.number(), teacher_entropy: z.number(), tail_mass: z.number() }),
  /** Of the rollouts to the prompt, equally many for every prompt. `log_ratio` sums log p_student - log p_teacher over a rollout's tokens. */
  rollouts: z
    .array(
      z.strictObject({
        tokens: count,
        log_ratio: z.number(),
        bucketed_reverse_kl: z.number().optional(),
        finish: z.enum(['stop', 'length']),
        loops: z.boolean(),
        /** Absent when the prompt carries no answer. */
        correct: z.boolean().optional(),
      }),
    )
    .min(1),
});

type RolloutColumn = (rollout: PromptRecord['rollouts'][number]) => number;
/** What was measured on one held-out prompt, in sums of nats, so that any mean and any interval can be made of it later. */
export type PromptRecord = z.output<typeof promptRecord>;

/** A committed evaluation, prompt by prompt. */
export const evaluationRecordSchema = z.strictObject({ label: z.string(), prompts: z.array(promptRecord).min(1), account: accountSchema });
/** An evaluation, prompt by prompt. */
export type EvaluationRecord = z.output<typeof evaluationRecordSchema>;

type Column = (record: PromptRecord) => number;
const textRows: Column = ({ text }) => text.rows;
const overRollouts = (column: RolloutColumn): Column => ({ rollouts }) => rollouts.reduce((sum, rollout) => sum + column(rollout), 0);
const rolloutTokens = overRollouts(({ tokens }) => tokens);

/** Means and intervals of a record. @param seed of the run; equal records give equal intervals. */
export function summarise({ prompts }: EvaluationRecord, seed: number): Evaluation {
  const onText = (sum: Column): number => meanOf(promptMean(prompts, sum, textRows));
  const onRollouts = (column: RolloutColumn): number => meanOf(promptMean(prompts, overRollouts(column), ({ rollouts }) => rollouts.length));
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
    mean_length: onRollouts(({ tokens }) => tokens),
    truncated_share: onRollouts(({ finish }) => Number(finish === 'length')),
    loop_share: onRollouts(({ loops }) => Number(loops)),
    eos_share: onRollouts(({ finish }) => Number(finish === 'stop')),
    bucketed_reverse_kl_own_rollouts: known(meanOf(promptMean(prompts, overRollouts(({ bucketed_reverse_kl: kl }) => kl ?? NaN), rolloutTokens))),
    student_entropy: onText(({ text }) => text.student_entropy),
    teacher_entropy: onText(({ text }) => text.teacher_entropy),
    tail_mass: onText(({ text }) => text.tail_mass),
    accuracy: known(meanOf(promptMean(prompts, overRollouts(({ correct }) => Number(correct ?? false)), overRollouts(({ correct }) => Number(correct !== undefined))))),
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
  return promptMean(prompts, overRollouts(({ log_ratio }) => log_ratio), rolloutTokens);
}

function promptMean(prompts: readonly PromptRecord[], sum: Column, count: Column): PromptMean {
  return { sums_P: prompts.map(sum), counts_P: prompts.map(count) };
}

function known(value: number): number | undefined {
  return Number.isNaN(value) ? undefined : value;
}
