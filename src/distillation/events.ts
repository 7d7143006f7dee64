import type { Stage, TrainingStage } from './stage-order.js';

/** One record of `metrics.jsonl`: what a training step measured, means over its loss tokens, in nats where not said otherwise. */
export interface StepMetrics {
  readonly stage: TrainingStage;
  /** 1-based. */
  readonly step: number;
  /** Of the whole stage; NaN for a watcher who was not told. */
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

/** A checkpoint is committed: from here on a resumed stage begins behind its step. */
export interface CheckpointEvent {
  readonly kind: 'checkpoint';
  readonly stage: TrainingStage;
  readonly step: number;
  /** Its directory in the store. */
  readonly name: string;
  /** Of all its files. */
  readonly bytes: number;
  /** What its last step measured. */
  readonly metrics?: StepMetrics;
  /** Older checkpoints of the stage that made room for it, by name. */
  readonly expired: readonly string[];
}

/** What teacher and student answered to one held-out prompt, special tokens kept. */
export interface AnswerPair {
  readonly prompt: string;
  /** Null where the teacher's answer was empty. */
  readonly teacher: string | null;
  readonly student: string;
}

/** What a run tells while it goes. `rate` is in units a second since the stage began. */
export type RunEvent =
  | { readonly kind: 'stage_started'; readonly stage: Stage; readonly label: string }
  | { readonly kind: 'stage_skipped'; readonly stage: Stage; readonly label: string }
  | { readonly kind: 'stage_finished'; readonly stage: Stage; readonly label: string; readonly seconds: number }
  | { readonly kind: 'progress'; readonly stage: Stage; readonly label: string; readonly done: number; readonly total: number; readonly unit: string; readonly rate: number }
  | { readonly kind: 'resumed'; readonly stage: TrainingStage; readonly firstStep: number }
  | { readonly kind: 'step'; readonly metrics: StepMetrics }
  | CheckpointEvent
  /** A checkpoint could not be written for want of room; the run goes on from the last one. Told once until one is written again. */
  | { readonly kind: 'save_failed'; readonly stage: TrainingStage; readonly step: number; readonly code: string; readonly message: string }
  | { readonly kind: 'quarantined'; readonly stage: TrainingStage; readonly step: number; readonly name: string; readonly message: string }
  | { readonly kind: 'samples'; readonly label: string; readonly samples: readonly AnswerPair[] }
  | { readonly kind: 'check'; readonly name: string; readonly verdict: 'passed' | 'warned'; readonly found: string }
  | { readonly kind: 'warning'; readonly message: string };

/** Units a second; 0 before any time has passed. */
export function rateOf(units: number, seconds: number): number {
  return seconds > 0 ? units / seconds : 0;
}
