/** Events of about the last window, some of them marked; kept as the present half of the window and the one before. Times in milliseconds of one clock. */
export interface Tally {
  /** When the present half began. */
  readonly at: number;
  readonly all: number;
  readonly marked: number;
  readonly allBefore: number;
  readonly markedBefore: number;
}

export const EMPTY_TALLY: Tally = { at: 0, all: 0, marked: 0, allBefore: 0, markedBefore: 0 };

/** What to count. `marked` of `all`. */
export interface Counted {
  readonly all: number;
  readonly marked: number;
}

/** The tally with more events, those older than the window forgotten. */
export function tallied(tally: Tally, { all, marked }: Counted, { now, windowMs }: { readonly now: number; readonly windowMs: number }): Tally {
  const { at, ...present } = turned(tally, now, windowMs / 2);
  return { ...present, at, all: present.all + all, marked: present.marked + marked };
}

/** Everything the tally still knows of. */
export function countsOf({ all, marked, allBefore, markedBefore }: Tally): Counted {
  return { all: all + allBefore, marked: marked + markedBefore };
}

function turned(tally: Tally, now: number, halfMs: number): Tally {
  const passedMs = now - tally.at;
  if (passedMs < halfMs) return tally;
  const before = passedMs < 2 * halfMs ? { allBefore: tally.all, markedBefore: tally.marked } : { allBefore: 0, markedBefore: 0 };
  return { at: now, all: 0, marked: 0, ...before };
}
