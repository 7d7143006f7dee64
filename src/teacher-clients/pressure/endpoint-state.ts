import { countsOf, EMPTY_TALLY, tallied, type Tally } from './tally.js';

/** How much is asked of an endpoint, and when it is left alone. */
export interface PressureRules {
  /** Requests under way at once: to begin with, and at most. */
  readonly concurrency: number;
  readonly concurrencyMost: number;
  /** What counts as recent, milliseconds. */
  readonly windowMs: number;
  /** Recent calls from which on half of them failing opens the circuit. */
  readonly circuitCalls: number;
  /** Recent retries that are allowed however little else is asked; beyond them a tenth of the traffic. */
  readonly retryFloor: number;
  /** From the opening of the circuit to the first probe; doubles with each that fails, up to the most. Milliseconds. */
  readonly probeMs: number;
  readonly probeMostMs: number;
  /** How long a request waits for an open circuit, milliseconds from its opening. */
  readonly awayMs: number;
  /** Longest Retry-After that is obeyed, milliseconds. */
  readonly retryAfterMostMs: number;
}

export const DEFAULT_RULES: PressureRules = {
  concurrency: 32,
  concurrencyMost: 256,
  windowMs: 30_000,
  circuitCalls: 20,
  retryFloor: 10,
  probeMs: 15_000,
  probeMostMs: 300_000,
  awayMs: 1_800_000,
  retryAfterMostMs: 600_000,
};

/** What all who ask an endpoint know of it together. Times are milliseconds of the clock of whoever keeps it. */
export interface EndpointState {
  /** Requests that may be under way at once, >= 1; grows by fractions. */
  readonly concurrency: number;
  /** When it was last cut. */
  readonly cutAt: number;
  /** Nothing is sent before. */
  readonly heldUntil: number;
  /** Recent calls; marked are those that failed. */
  readonly calls: Tally;
  /** Since when the circuit is open; null while it is closed. */
  readonly openedAt: number | null;
  /** When the next probe is due; null while the circuit is closed. */
  readonly probeAt: number | null;
  /** Since the circuit opened. */
  readonly failedProbes: number;
}

/** What happened at an endpoint since the last report. */
export interface PressureReport {
  /** Successes without a retry while at least half of what was allowed was under way: they show that more would go. */
  readonly clean: number;
  readonly calls: number;
  /** Of the calls. */
  readonly failures: number;
  /** How long ago the last request was sent that showed that less would be better; milliseconds. */
  readonly slowAgeMs?: number;
  /** How long the endpoint asked to be left alone, milliseconds from now. */
  readonly heldMs?: number;
  /** Whether a request is out of tries. */
  readonly gaveUp: boolean;
}

export const NOTHING_HAPPENED: PressureReport = { clean: 0, calls: 0, failures: 0, gaveUp: false };

const CUT = 0.5;
const OPENING_SHARE = 0.5;

/** Of an endpoint that nobody has asked yet. */
export function freshEndpoint({ concurrency }: PressureRules): EndpointState {
  return { concurrency, cutAt: -1, heldUntil: 0, calls: EMPTY_TALLY, openedAt: null, probeAt: null, failedProbes: 0 };
}

/**
 * The state after a report: one more request at once for each full window of clean successes; half as many when one was slowed down that was sent after
 * the last cut, which is at most once a round trip; held as long as the endpoint asked; the circuit opened when half of the recent calls failed.
 */
export function advance(state: EndpointState, report: PressureReport, { now, rules }: { readonly now: number; readonly rules: PressureRules }): EndpointState {
  const grown = Math.min(rules.concurrencyMost, state.concurrency + report.clean / state.concurrency);
  const isCut = report.slowAgeMs !== undefined && now - report.slowAgeMs > state.cutAt;
  const heldMs = Math.min(rules.retryAfterMostMs, report.heldMs ?? 0);
  const calls = tallied(state.calls, { all: report.calls, marked: report.failures }, { now, windowMs: rules.windowMs });
  const next: EndpointState = {
    ...state,
    concurrency: isCut ? Math.max(1, grown * CUT) : grown,
    cutAt: isCut ? now : state.cutAt,
    heldUntil: Math.max(state.heldUntil, now + heldMs),
    calls,
  };
  const opens = state.openedAt === null && mostFail(calls, report.gaveUp ? 1 : rules.circuitCalls);
  return opens ? { ...next, openedAt: now, probeAt: now + rules.probeMs, failedProbes: 0 } : next;
}

/** The state after a probe: closed, everything before forgotten, or open until the next, which comes after twice the time. */
export function probed(state: EndpointState, result: 'answered' | 'failed', { now, rules }: { readonly now: number; readonly rules: PressureRules }): EndpointState {
  if (result === 'answered') return { ...state, openedAt: null, probeAt: null, failedProbes: 0, calls: { ...EMPTY_TALLY, at: now } };
  const failedProbes = state.failedProbes + 1;
  return { ...state, failedProbes, probeAt: now + Math.min(rules.probeMostMs, rules.probeMs * 2 ** failedProbes) };
}

function mostFail(tally: Tally, atLeast: number): boolean {
  const { all, marked } = countsOf(tally);
  return all >= atLeast && marked >= all * OPENING_SHARE;
}
