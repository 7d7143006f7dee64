import { rateOf, type StepMetrics } from './events.js';
import type { TrainedStep } from './train-step.js';

/** The record of a step; what a missing teacher left NaN is left out. */
export function stepMetrics(
  { means, gradNorm, tokens, labelLogProbs_R }: TrainedStep,
  { stage, step, steps, learningRate, seconds }: Pick<StepMetrics, 'stage' | 'step' | 'steps' | 'seconds'> & { readonly learningRate: number },
): StepMetrics {
  return {
    stage,
    step,
    steps,
    loss: means.loss,
    forward_kl: known(means.forwardKl),
    reverse_kl: known(means.reverseKl),
    student_entropy: known(means.studentEntropy),
    teacher_entropy: known(means.teacherEntropy),
    support_mass: known(means.supportMass),
    agreement: known(means.agreement),
    grad_norm: gradNorm,
    learning_rate: learningRate,
    tokens,
    loss_tokens: labelLogProbs_R.length,
    seconds,
    tokens_per_second: rateOf(tokens, seconds),
  };
}

function known(value: number): number | undefined {
  return Number.isNaN(value) ? undefined : value;
}
