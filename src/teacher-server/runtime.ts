/** A number that chooses an id from a whole distribution. */
export interface Draw {
  /** > 0. */
  readonly temperature: number;
  /** [0, 1). */
  readonly uniform: number;
}

/** A position whose distribution is wanted. */
export interface RowAsk {
  /** Index into the part's `ids_S`. */
  readonly at: number;
  /** An id whose logit and rank are wanted. */
  readonly label: number;
  /** Absent when nobody will look at the row's sampled id. */
  readonly draw?: Draw;
}

/** What becomes of a sequence after a run: it goes on being read, goes on by one id at a time, or its keys and values are forgotten. */
export type After = 'read' | 'decode' | 'forget';

/** One sequence's share of a run. */
export interface RunPart {
  /** Names the sequence's keys and values; chosen by the caller, never used again once forgotten. */
  readonly lane: number;
  /** Positions the lane already holds; 0 begins it. */
  readonly held: number;
  /** Ids that follow, at least one and at most the runtime's chunk. */
  readonly ids_S: Int32Array;
  readonly rows: readonly RowAsk[];
  readonly after: After;
}

/** Sequences that run together, as the runtime's rules have it. At least one part; rows may be none. */
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
  /** Of rows without a draw: any id of the vocabulary. */
  readonly sampledIds_R: Int32Array;
  readonly sampledLogits_R: Float32Array;
}

/** Steps to which positions are padded: sequences run together only when they are equally long after it. */
export interface Padding {
  readonly past: number;
  readonly fresh: number;
}

/** What runs a runtime takes, and how long sequences may become in it. */
export interface RunRules {
  /** Positions of a prompt read in one run; longer prompts are read in chunks. */
  readonly chunk: number;
  /** New positions of one run, padding included; at least `chunk`. */
  readonly positions: number;
  /** Rows whose distribution one run computes; at least `chunk`. */
  readonly rows: number;
  /** Absent where sequences of any lengths are laid end to end. */
  readonly padding?: Padding;
  /** Positions that all lanes together may hold. */
  readonly heldPositions: number;
}

/** A loaded model with the keys and values of its lanes, which computes on the calling thread. Runs go one at a time. */
export interface TeacherSession {
  readonly rules: RunRules;
  /** @throws RuntimeFailed or what the libraries throw, after which only `close` may be called. */
  run(run: TeacherRun): Promise<TeacherRows>;
  /** Frees a lane; unknown lanes are ignored. */
  forget(lane: number): void;
  close(): Promise<void>;
}

/**
 * Runs the served model. Runs go one at a time; an answer depends on its own part and what its lane holds, never on the parts beside it: bit for bit,
 * unless the native runtime has to multiply without bf16 instructions, where it may move by float32 rounding.
 */
export abstract class TeacherRuntime {
  abstract readonly rules: RunRules;
  /** Fires with the reason when no further run can succeed. */
  abstract readonly broken: AbortSignal;
  /** @throws RuntimeFailed after which only `close` may be called. */
  abstract run(run: TeacherRun): Promise<TeacherRows>;
  /** Frees a lane; unknown lanes are ignored. */
  abstract forget(lane: number): void;
  abstract close(): Promise<void>;
}
