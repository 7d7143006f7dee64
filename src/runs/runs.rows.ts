import type { ServiceSpec } from '../distillation/spec.js';
import type { RunStatus, StageStatus } from './run-states.js';
import type { StageProgress } from './stage-claim.js';

/** What a failed job, or a failed stage, says of its end. */
export interface FailureRow {
  readonly code: string;
  readonly message: string;
  readonly param: string | null;
}

/** A row of `runs`, times as Unix seconds. */
export interface RunRow {
  readonly id: string;
  readonly created_at: number;
  readonly status: RunStatus;
  readonly model: string;
  readonly training_file: string;
  readonly validation_file: string;
  readonly teacher_id: string;
  readonly suffix: string;
  readonly seed: number;
  readonly spec: ServiceSpec;
  readonly spec_hash: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly dry_run: boolean;
  readonly lineage: RunLineage;
  readonly pause_requested_at: number | null;
  readonly cancel_requested_at: number | null;
  readonly started_at: number | null;
  readonly finished_at: number | null;
  readonly error: FailureRow | null;
  /** Why it paused by itself. */
  readonly pause_cause: FailureRow | null;
  readonly plan: unknown;
  readonly report: unknown;
  readonly fine_tuned_model: string | null;
  readonly seq: number;
}

/** Where a run stands. */
export type RunState = Pick<RunRow, 'status' | 'seq'>;

/** What a run was made from, as it was when the run was created. */
export interface RunLineage {
  readonly base_model: string;
  readonly training_sha256: string;
  readonly validation_sha256: string;
  readonly teacher: { readonly id: string; readonly name: string; readonly model: string; readonly dialect: string };
  readonly spec_hash: string;
  readonly limbeck_version: string;
}

/** A row of `stages`, times as Unix seconds. */
export interface StageRow {
  readonly id: number;
  readonly run_id: string;
  readonly name: string;
  readonly queue: 'collect' | 'device';
  readonly status: StageStatus;
  readonly epoch: number;
  readonly node_id: string | null;
  readonly started_at: number | null;
  readonly finished_at: number | null;
  readonly device_seconds: number;
  readonly progress: StageProgress | null;
  readonly account: { readonly seconds: number; readonly tokens: number; readonly teacher_calls: number } | null;
  readonly error: FailureRow | null;
  /** How often it was begun again, by class of failure. */
  readonly restarts: Readonly<Record<string, number>>;
  /** What a running stage cannot go on without. */
  readonly waiting_for: 'teacher_unavailable' | null;
  /** Requests sent to the teacher, those that were in vain included. */
  readonly teacher_attempts: number;
}

/** An entry of a run's feed. */
export interface EventRow {
  readonly seq: number;
  readonly kind: 'event' | 'status' | 'progress' | 'metrics';
  readonly at: number;
  readonly level: 'info' | 'warn' | 'error';
  readonly type: string;
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** A row of `checkpoints`. */
export interface CheckpointRow {
  readonly id: string;
  readonly run_id: string;
  readonly stage: string;
  readonly step: number;
  readonly name: string;
  readonly bytes: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly state: 'committed' | 'expired' | 'quarantined';
  readonly created_at: number;
}

/** A row of `run_samples`. */
export interface SampleRow {
  readonly label: string;
  readonly index: number;
  readonly prompt: string;
  readonly teacher: string | null;
  readonly student: string;
}
