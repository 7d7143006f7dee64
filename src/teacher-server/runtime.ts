/** A position whose distribution is wanted. */
export interface RowAsk {
  /** Index into the part's `ids_S`. */
  readonly at: number;
  /** An id whose logit and rank are wanted. */
  readonly label: number;
  /** > 0, of the draw over the whole vocabulary. */
  readonly temperature: number;
  /** [0, 1), the draw's random number. */
  readonly uniform: number;
}

/** What becomes of a sequence after a run: it goes on being read, goes on by one id at a time, or its keys and values are forgotten. */
export type After = 'read' | 'decode' | 'forget';

/** One sequence's share of a run. */
export interface RunPart {
  /** Names the sequence's keys and values; chosen by the caller, never used again once forgotten. */
  readonly lane: number;
  /** Positions the lane already holds; 0 begins it. */
  readonly held: number;
  /** Ids that follow, at least one. */
  readonly ids_S: Int32Array;
  readonly rows: readonly RowAsk[];
  readonly after: After;
}

/** Sequences that run together; all have one layout (`layout.ts`). At least one part; rows may be none. */
export interface TeacherRun {
  readonly parts: readonly RunPart[];
  /** How many best ids of each row are wanted, 1 to the vocabulary's size. */
  readonly k: number;
}

/** Answers for all rows of a run, R of them, part by part in the order asked. Logits are before the temperature; log-prob = logit - log-sum-exp. */
export interface TeacherRows {
  readonly topIds_RK: Int32Array;
  readonly topLogits_RK: Float32Array;
  readonly labelLogits_R: Float32Array;
  /** How many ids have at least the label's logit, the label included. */
  readonly labelRanks_R: Int32Array;
  readonly logSumExp_R: Float32Array;
  readonly sampledIds_R: Int32Array;
  readonly sampledLogits_R: Float32Array;
}

/** Runs the served model. Runs go one at a time; an answer depends on its own part alone, bit for bit, never on the parts beside it. */
export abstract class TeacherRuntime {
  /** Fires with the reason when no further run can succeed. */
  abstract readonly broken: AbortSignal;
  /** @throws RuntimeFailed after which only `close` may be called. */
  abstract run(run: TeacherRun): Promise<TeacherRows>;
  /** Frees a lane; unknown lanes are ignored. */
  abstract forget(lane: number): void;
  abstract close(): Promise<void>;
}
