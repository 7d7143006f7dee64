/** Token ids, each in [0, V). */
export type TokenIds = Int32Array;

/** Why a completion ended: a stop id was drawn (it is the last id), or the length limit was reached. */
export type Finish = 'stop' | 'length';

/** How a prompt asks a model with a thinking switch to answer; `plain` for a model without the switch. */
export type Mode = 'think' | 'no_think' | 'plain';

/** A prompt with its completion, both as ids. `completion_T` includes the stop id when `finish` is `stop`. */
export interface Sample {
  readonly prompt_T: TokenIds;
  readonly completion_T: TokenIds;
  readonly finish: Finish;
}

/** How the next token is drawn. */
export interface Sampling {
  /** >= 0; 0 takes the most probable id. Logits are divided by it. */
  readonly temperature: number;
  /** (0, 1]; 1 keeps every id. Nucleus: the smallest set of most probable ids whose mass reaches it. */
  readonly topP: number;
  /** >= 0; 0 keeps every id, else only the k most probable. Applied before `topP`. */
  readonly topK: number;
  /** >= 1, tokens, the stop id included. */
  readonly maxTokens: number;
  /** Every id that ends a completion. */
  readonly stopIds: readonly number[];
}
