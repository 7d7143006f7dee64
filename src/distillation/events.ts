/** The stages of a run, in order; `evaluate` comes three times. */
export const STAGES = ['validate', 'collect', 'distill', 'align', 'evaluate', 'export', 'controls'] as const;
/** The name of a stage. */
export type Stage = (typeof STAGES)[number];

/** One record of `metrics.jsonl`: what a training step measured, means over its loss tokens, in nats where not said otherwise. */
export interface StepMetrics {
  readonly stage: 'distill' | 'align';
  /** 1-based. */
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  /** Both bucketed KLs and what needs a teacher are absent under the loss `hard`. */
  readonly forward_kl?: number;
  readonly reverse_kl?: number;
  readonly student_entropy?: number;
  readonly teacher_entropy?: number;
  /** Student probability on the teacher's support. */
  readonly support_mass?: number;
  /** Share of tokens where both have the same most probable id. */
  readonly agreement?: number;
  /** L2 norm before clipping. */
  readonly grad_norm: number;
  readonly learning_rate: number;
  /** Tokens the engine read, prompts included. */
  readonly tokens: number;
  readonly loss_tokens: number;
  readonly seconds: number;
  readonly tokens_per_second: number;
  /** Of the step's rollouts (align). */
  readonly mean_length?: number;
  readonly truncated_share?: number;
  readonly loop_share?: number;
  /** Mean over tokens of |log p while sampling - log p while training|; the two paths of one engine should agree. */
  readonly rollout_gap?: number;
  /** Seconds spent waiting for the teacher; 0 when the reply came from the journal. */
  readonly teacher_seconds?: number;
}

/** What a run tells while it goes. `rate` is in units a second since the stage began. */
export type RunEvent =
  | { readonly kind: 'stage_started'; readonly stage: Stage; readonly label: string }
  | { readonly kind: 'stage_skipped'; readonly stage: Stage; readonly label: string }
  | { readonly kind: 'stage_finished'; readonly stage: Stage; readonly label: string; readonly seconds: number }
  | { readonly kind: 'progress'; readonly stage: Stage; readonly label: string; readonly done: number; readonly total: number; readonly unit: string; readonly rate: number }
  | { readonly kind: 'resumed'; readonly stage: 'distill' | 'align'; readonly firstStep: number }
  | { readonly kind: 'step'; readonly metrics: StepMetrics }
  | { readonly kind: 'check'; readonly name: string; readonly verdict: 'passed' | 'warned'; readonly found: string }
  | { readonly kind: 'warning'; readonly message: string };

/** Units a second; 0 before any time has passed. */
export function rateOf(units: number, seconds: number): number {
  return seconds > 0 ? units / seconds : 0;
}
