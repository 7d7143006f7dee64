/** Looks in each silence; two in a row must find it silent, because words that came while this thread computed are read between them. */
const LOOKS = 8;

/**
 * Watches over the host of an engine process from inside it. A host that is frozen or cut off may have lost its stage to another worker: its engine must not
 * compute beside the successor's, and cannot be told, so it ends by itself.
 */
export class HostWatch {
  private heardAt: number;
  private suspected = false;
  private readonly timer: NodeJS.Timeout;

  /** @param silenceMs longest silence, milliseconds. @param onSilent ends the process; called at most 1.25 silences after the last word. */
  constructor(
    private readonly silenceMs: number,
    private readonly onSilent: () => void,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.heardAt = now();
    this.timer = setInterval(() => this.look(), Math.max(1, silenceMs / LOOKS));
  }

  /** A word of the host's, whatever it says. */
  hear(): void {
    this.heardAt = this.now();
    this.suspected = false;
  }

  /** No more looks. */
  end(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    if (this.now() - this.heardAt < this.silenceMs) return;
    if (this.suspected) {
      this.end();
      this.onSilent();
    }
    this.suspected = true;
  }
}
