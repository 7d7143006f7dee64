import type { Dispatcher } from 'undici';
import type { TeacherPressure } from '../pressure/teacher-pressure.js';
import type { Timing } from '../timing.js';

/** How a teacher that speaks the vLLM dialect is reached. */
export interface VllmTeacherOptions {
  /** `http://host:port`; a trailing `/v1` is tolerated. */
  readonly baseUrl: string;
  /** The name the teacher serves the model under. */
  readonly model: string;
  /** Ids at or above this are padded rows of the teacher's head: dropped from supports, their mass counted in the tail. */
  readonly vocabSize: number;
  /** Sent as a bearer token. */
  readonly apiKey?: string;
  /** Makes every connection, in place of the client's own: the service hands in one that judges each dial. The client destroys it when it is closed. */
  readonly dispatcher?: Dispatcher;
  /**
   * Whether errors repeat what the server said. The service withholds it: who may name an address shall not read through us what answers there.
   * Default quoted.
   */
  readonly replies?: 'quoted' | 'withheld';
  readonly limits?: Partial<VllmLimits>;
  /** Lets attempts go; by default as many as the teacher bears, and none waits for one that is away. */
  readonly pressure?: TeacherPressure;
  /** Time and chance, replaced by tests. */
  readonly timing?: Timing;
}

/** Bounds of waiting and of what is in flight. */
export interface VllmLimits {
  /** For the connection, milliseconds. */
  readonly connectMs: number;
  /** For the first byte of an answer, milliseconds: a part that covers queueing, and one for each token read or written. */
  readonly answerMs: number;
  readonly answerMsPerToken: number;
  /** Longest silence inside an answer's body, milliseconds. */
  readonly silenceMs: number;
  /** A whole body may take `silenceMs`, and at this rate the time of the most bytes it may have. */
  readonly slowestBytesPerMs: number;
  /** Most support entries asked for at once, summed over requests as tokens x k; about 70 bytes each on the wire. A larger request goes alone. */
  readonly entriesInFlight: number;
  /** How often one request is asked before it is given up, >= 1. */
  readonly tries: number;
  /** Wait before a retry: drawn between `retryWaitMs` and twice that, doubled with each retry up to `retryWaitMostMs`. Milliseconds. */
  readonly retryWaitMs: number;
  readonly retryWaitMostMs: number;
}

export const DEFAULT_LIMITS: VllmLimits = {
  connectMs: 10_000,
  answerMs: 120_000,
  answerMsPerToken: 250,
  silenceMs: 60_000,
  slowestBytesPerMs: 64,
  entriesInFlight: 2 ** 18,
  tries: 6,
  retryWaitMs: 500,
  retryWaitMostMs: 30_000,
};
