import type { Stage } from '../distillation/stage-order.js';
import type { StageAccount, RunReport } from '../distillation/report.js';
import type { PlacedStudent } from '../students/students.service.js';

/** A worker's right to a stage. Every write carries it and is refused once `epoch` is no longer the row's. */
export interface Claim {
  readonly runId: string;
  /** `stages.id`. */
  readonly stageId: number;
  readonly stage: Stage;
  /** Counts the claims of this stage, >= 1. */
  readonly epoch: number;
  /** How long the lease lasts after each renewal, milliseconds. */
  readonly leaseMs: number;
}

/** What a renewal answers: go on, stop with a checkpoint, stop for good, give the stage back because its node drains, or the stage belongs to another now. */
export type LeaseAnswer = 'go' | 'pause' | 'cancel' | 'drain' | 'lost';

/** What a claimed stage works on: ids of registered things. */
export interface StageTask {
  readonly model: string;
  readonly trainingFile: string;
  readonly validationFile: string;
  readonly teacherId: string;
  readonly seed: number;
  /** As the API stored it. */
  readonly spec: unknown;
}

/** A committed file of a run. */
export interface RunFile {
  readonly name: string;
  /** Where its bytes lie, relative to the run's directory. */
  readonly place: string;
  readonly bytes: number;
  /** Hexadecimal; null for a file that still grows. */
  readonly sha256: string | null;
}

/** How far a stage has come. `rate` is in units a second. */
export interface StageProgress {
  readonly label: string;
  readonly done: number;
  readonly total: number;
  readonly unit: string;
  readonly rate: number;
}

/** What the job object says of a failure. */
export interface StageFailure {
  readonly code: string;
  readonly message: string;
  readonly param: string | null;
}

/**
 * Whose fault it is that a hold ended before its stage did: `preempted` the worker was told to end, `lost` its lease ran out, `infra` disk or
 * system around it, `trainer_error` the engine died or hung, `teacher`, `invalid` the run itself.
 */
export type FailureClass = 'preempted' | 'lost' | 'infra' | 'trainer_error' | 'teacher' | 'invalid';

/** How a worker's hold of a stage ended. */
export type ClaimOutcome =
  | {
      readonly kind: 'succeeded';
      readonly account: StageAccount;
      /** Of `validate`. */
      readonly plan?: object;
      /** Of the last stage. */
      readonly report?: RunReport;
      /** The exported student, placed among the models; of the last stage. */
      readonly student?: PlacedStudent;
    }
  /** `by` decides whether the stage is tried again. */
  | { readonly kind: 'failed'; readonly by: FailureClass; readonly error: StageFailure }
  /** The work cannot go on until something outside changes: the run pauses by itself, what was committed kept. */
  | { readonly kind: 'paused'; readonly cause: StageFailure }
  /** The work stopped at a step boundary. What follows is read from the run: it was asked to pause, to stop for good, or another worker goes on. */
  | { readonly kind: 'stopped' };
