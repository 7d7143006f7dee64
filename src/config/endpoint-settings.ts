import { z } from 'zod';

const milliseconds = z.coerce.number().int().min(1).max(86_400_000);
const count = z.coerce.number().int().min(1).max(100_000);

/** How workers ask the endpoints of teachers: an endpoint is an address, whatever runs and workers ask it. */
export const endpointSettings = {
  /** Requests under way at once, of the whole installation: to begin with, and at most. */
  endpointConcurrency: count.default(32),
  endpointConcurrencyMost: count.default(256),
  /** Between looks at what the other workers know of it, while anything is asked. */
  endpointSyncMs: milliseconds.default(300),
  /** What counts as recent, and from how many recent calls on half of them failing opens the circuit. */
  endpointWindowMs: milliseconds.default(30_000),
  endpointCircuitCalls: count.default(20),
  /** From the opening of the circuit to the first probe; doubles with each that fails, up to the most. */
  endpointProbeMs: milliseconds.default(15_000),
  endpointProbeMostMs: milliseconds.default(300_000),
  /** How long a probe may take. */
  endpointProbeWithinMs: milliseconds.default(10_000),
  /** How long a run waits for an open circuit before it pauses. */
  endpointAwayMs: milliseconds.default(1_800_000),
  /** Recent retries of a worker that are allowed however little it asks; beyond them a tenth of what it asks. */
  endpointRetryFloor: count.default(10),
  /** Longest Retry-After that is obeyed. */
  endpointRetryAfterMostMs: milliseconds.default(600_000),
  /** How often a request is asked, and the wait before a retry: at least, and at most after doublings. */
  endpointTries: count.default(6),
  endpointRetryWaitMs: milliseconds.default(500),
  endpointRetryWaitMostMs: milliseconds.default(30_000),
  /** Until an answer begins: a part for waiting in line, and one for each token read or written. */
  endpointAnswerMs: milliseconds.default(120_000),
  endpointAnswerMsPerToken: milliseconds.default(250),
  /** Longest silence inside an answer. */
  endpointSilenceMs: milliseconds.default(60_000),
  /** A whole answer may take that silence, and at this rate the time of the most bytes it may have. Bytes a millisecond. */
  endpointSlowestBytesPerMs: z.coerce.number().int().min(1).default(64),
};
