import { AppError } from '../common/errors.js';
import type { Sample, Sampling, TokenIds } from '../tokens/sample.js';
import type { ScoreSequence, TargetBlock } from '../tokens/target.js';

export interface TeacherCapabilities {
  readonly model: string;
  /** Longest sequence, prompt and completion together, in tokens. */
  readonly maxLength: number;
  /** Whether the same sequence scored twice gave the same bits. */
  readonly repeatable: boolean;
  /** Hash of what identifies the served model: its id and its scores of a fixed probe. */
  readonly fingerprint: string;
}

/** One prompt to answer; `seed` in [0, 2^53) makes a repeatable teacher's answer a function of the request alone. */
export interface TeacherPrompt {
  readonly ids_T: TokenIds;
  readonly seed: number;
}

/** What the teacher wrote; `targets` has a row for each id of `completion_T`. */
export interface TaughtSample extends Sample {
  /** Index into the prompts of the call. */
  readonly index: number;
  readonly targets: TargetBlock;
}

/**
 * A served model that writes and scores. Answers come as they finish, in any order, each checked against `contracts.md` section 1.
 * Asks again after 429, 5xx, socket failures and invalid answers, as often as its limits say; everything else fails at once.
 */
export abstract class TeacherClient {
  /** Asks whether the teacher is there, serves the model, and grants supports of `k` ids. @throws TeacherUnavailable, TeacherRefused */
  abstract probe(k: number, signal?: AbortSignal): Promise<TeacherCapabilities>;
  /** The ids the teacher's own tokenizer gives for `text`, special tokens in it recognised, nothing prepended; undefined when it has no such route. */
  abstract tokenize(text: string, signal?: AbortSignal): Promise<TokenIds | undefined>;
  abstract generate(prompts: readonly TeacherPrompt[], sampling: Sampling, k: number, signal?: AbortSignal): AsyncIterable<TaughtSample>;
  abstract score(sequences: readonly ScoreSequence[], k: number, signal?: AbortSignal): AsyncIterable<TargetBlock>;
  abstract close(): Promise<void>;
}

/** The teacher cannot be reached, or gave up after retries; says the address and the last answer. */
export class TeacherUnavailable extends AppError {
  readonly code = 'teacher.unavailable';
  readonly kind = 'unavailable';
}

/** The teacher has not answered for so long that nobody waits any longer; the work goes on once it answers again. */
export class TeacherAway extends AppError {
  readonly code = 'teacher.away';
  readonly kind = 'unavailable';
}

/** The teacher refused the request (wrong key, model, length, k); says its own words and what would be right. */
export class TeacherRefused extends AppError {
  readonly code = 'teacher.refused';
  readonly kind = 'invalid';
}

/** The teacher's answer broke the contract (length, order, positive log-prob, mass above 1, other ids); nothing of it was used. */
export class TeacherAnswerInvalid extends AppError {
  readonly code = 'teacher.answer_invalid';
  readonly kind = 'invalid';
}

/** Too many of the teacher's answers broke the contract; none of them was used. */
export class TeacherBadOutput extends AppError {
  readonly code = 'teacher.bad_output';
  readonly kind = 'invalid';
}
