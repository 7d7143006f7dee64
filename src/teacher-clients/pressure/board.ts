import { advance, freshEndpoint, NOTHING_HAPPENED, type EndpointState, type PressureReport, type PressureRules } from './endpoint-state.js';

/** How an endpoint stands for one of those who ask it. Times count from now, milliseconds. */
export interface Standing {
  /** Requests that this one may have under way; 0 when others have their turn. */
  readonly share: number;
  /** Until anything may be sent. */
  readonly heldMs: number;
  /** For how long the circuit has been open; undefined while it is closed. */
  readonly openMs?: number;
}

/** Where the state of an endpoint is kept. */
export interface Board {
  /** Adds what happened. @returns how the endpoint stands after it. */
  exchange(report: PressureReport): Promise<Standing>;
}

/** The part of a state that is one asker's. @param turn which of the `askers` it is, from 0; those who have no place take turns. */
export function standingOf(state: EndpointState, { now, askers, turn }: { readonly now: number; readonly askers: number; readonly turn: number }): Standing {
  const whole = Math.floor(state.concurrency);
  const share = Math.floor(whole / askers) + (turn < whole % askers ? 1 : 0);
  return { share, heldMs: Math.max(0, state.heldUntil - now), ...(state.openedAt === null ? {} : { openMs: now - state.openedAt }) };
}

/** Keeps the state of an endpoint that this process alone asks. It has no circuit: who runs alone learns at once that the teacher is gone. */
export class OwnBoard implements Board {
  private state: EndpointState;

  constructor(
    private readonly rules: PressureRules,
    private readonly now: () => number,
  ) {
    this.state = freshEndpoint(rules);
  }

  exchange({ clean, slowAgeMs, heldMs }: PressureReport): Promise<Standing> {
    const now = this.now();
    this.state = advance(this.state, { ...NOTHING_HAPPENED, clean, slowAgeMs, heldMs }, { now, rules: this.rules });
    return Promise.resolve(standingOf(this.state, { now, askers: 1, turn: 0 }));
  }
}
