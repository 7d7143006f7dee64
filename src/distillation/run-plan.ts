import { foreseeDisk } from './foresight.js';
import type { Check, Subject } from './preflight.js';
import { longestPrompt, type RenderedPrompt } from './prompts.js';

/** What a run will take, as far as it can be said before the teacher has written a word. */
export interface RunForecast {
  readonly steps: {
    /** Every answer as long as `collect.max_tokens` allows. */
    readonly distill_at_most: number;
    readonly align: number;
  };
  /** Prompts and completions together, every completion as long as its limit allows. */
  readonly tokens: {
    /** That the teacher writes or scores. */
    readonly teacher_at_most: number;
    /** That the student reads in training and evaluation. */
    readonly student_at_most: number;
  };
  /** Prompts the teacher answers and sequences it scores. */
  readonly teacher_requests: number;
  /** Of engine and targets at their height. */
  readonly memory_bytes: number;
  /** An estimate from below. */
  readonly disk_bytes: number;
}

/** What `validate` found: the outcome of each check, and what the run will take. */
export interface RunPlan extends RunForecast {
  readonly checks: readonly Check[];
}

/** Trials of the `hard` control beside the unigram control. */
const HARD_TRIALS = 3;
/** Before, after distill, after align. */
const EVALUATIONS = 3;

/** Foresees what a run will take. @param memoryBytes as `checkMemory` foresaw them. */
export function planOf({ spec, config, training, heldOut: all }: Pick<Subject, 'spec' | 'config' | 'training' | 'heldOut'>, memoryBytes: number): RunForecast {
  const { collect, distill, align, evaluate, controls } = spec.method.distillation;
  const heldOut = all.slice(0, evaluate.prompts);
  const answers = training.length * collect.samples_per_prompt;
  const budget = answers * collect.max_tokens * distill.epochs;
  const trials = controls === 'all' ? HARD_TRIALS : 0;
  const rollouts = align.steps * align.prompts_per_step;
  const collected = collect.samples_per_prompt * tokensOf(training, collect.max_tokens);
  const measured = tokensOf(heldOut, evaluate.max_tokens);
  const rolledOut = rollouts * (longestPrompt(training) + align.max_tokens);
  const scoredRounds = (EVALUATIONS + trials) * evaluate.rollouts_per_prompt + Math.min(trials, 1);
  return {
    steps: { distill_at_most: Math.max(1, Math.round(budget / distill.loss_tokens_per_step)), align: align.steps },
    tokens: {
      teacher_at_most: collected + measured * (1 + scoredRounds) + rolledOut,
      student_at_most: (1 + trials) * distill.epochs * collected + rolledOut + (EVALUATIONS + trials) * (1 + evaluate.rollouts_per_prompt) * measured,
    },
    teacher_requests: answers + heldOut.length * (1 + scoredRounds) + rollouts,
    memory_bytes: memoryBytes,
    disk_bytes: Math.ceil(foreseeDisk({ spec, config, prompts: training.length })),
  };
}

/** Tokens of prompts with a completion of `most` tokens to each. */
function tokensOf(prompts: readonly RenderedPrompt[], most: number): number {
  return prompts.reduce((sum, { ids_T }) => sum + ids_T.length + most, 0);
}
