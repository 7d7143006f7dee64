import { SYSTEM_TIMING, type Timing } from '../timing.js';
import { OwnBoard } from './board.js';
import { DEFAULT_RULES } from './endpoint-state.js';
import { Governor, type Entry, type Permit } from './governor.js';

/** How one client asks its endpoint. */
export interface PressureOptions {
  readonly governor: Governor;
  /** Whether it waits for a teacher that is away; the longest wait, from the first failure on, is `awayMs`. */
  readonly patience: Entry['patience'];
  /** Milliseconds that a single request may fail, while others are answered, before it counts as hopeless. */
  readonly awayMs: number;
  /** Told of each attempt that is sent. */
  readonly onAttempt: () => void;
  /** Told when requests begin to wait for a teacher that is away, and when none does any longer. */
  readonly onAway: (isAway: boolean) => void;
}

/** What a client asks before each attempt, and tells of each outcome. Clients of one process to one endpoint share the governor. */
export class TeacherPressure {
  private away = 0;

  constructor(private readonly options: PressureOptions) {}

  /** For who asks an endpoint alone: as much as it bears, and failures at once. */
  static own(endpoint: string, timing: Timing = SYSTEM_TIMING): TeacherPressure {
    const board = new OwnBoard(DEFAULT_RULES, timing.now);
    const governor = new Governor({ endpoint, board, rules: DEFAULT_RULES, timing, freshMs: Infinity, onBoardFailed: () => undefined });
    return new TeacherPressure({ governor, patience: 'fails', awayMs: 0, onAttempt: () => undefined, onAway: () => undefined });
  }

  get patience(): Entry['patience'] {
    return this.options.patience;
  }

  get awayMs(): number {
    return this.options.awayMs;
  }

  /** Waits until an attempt may be sent. @throws Aborted, TeacherUnavailable, TeacherAway */
  async enter(attempt: Entry['attempt'], signal: AbortSignal): Promise<Permit> {
    const { governor, patience, onAttempt } = this.options;
    const permit = await governor.enter({ attempt, patience, onAway: (isAway) => this.count(isAway ? 1 : -1) }, signal);
    onAttempt();
    return permit;
  }

  /** Notes that a request is out of tries. @returns whether the endpoint is given up for now: the next `enter` waits. */
  gaveUp(): Promise<boolean> {
    return this.options.governor.gaveUp();
  }

  /** Resolves when all who share the endpoint's state were told of everything so far. */
  settled(): Promise<void> {
    return this.options.governor.settled();
  }

  private count(change: 1 | -1): void {
    const before = this.away;
    this.away += change;
    if (before === 0 || this.away === 0) this.options.onAway(this.away > 0);
  }
}
