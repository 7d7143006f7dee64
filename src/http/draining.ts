/** Where a process stands on its way out. One for all its modules. */
export class Draining {
  private readonly streams = new AbortController();
  private draining = false;

  /** Whether the process is to get no new requests: it answers those that come all the same. */
  get isDraining(): boolean {
    return this.draining;
  }

  /** Fires when answers without an end (streams of events) must end. */
  get streamsMustEnd(): AbortSignal {
    return this.streams.signal;
  }

  start(): void {
    this.draining = true;
  }

  endStreams(): void {
    this.draining = true;
    this.streams.abort();
  }
}
