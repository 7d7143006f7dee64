import { Injectable, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { DatabaseListener } from '../database/listener.js';
import { RUN_CHANGED } from './run-feed.service.js';

/** Waits for the changes of one run. Ask before reading the database: a change while reading is not missed then. */
export interface RunWatch {
  /** Resolves at the first change since the last call, after `ms`, or when `signal` fires; looks again are the caller's. */
  changed(ms: number, signal: AbortSignal): Promise<void>;
  close(): void;
}

/** Tells those who wait for a run that it changed. One connection to the database serves all of them. */
@Injectable()
export class RunChanges implements OnModuleInit, OnModuleDestroy {
  private readonly watches = new Map<string, Set<Watch>>();
  private readonly stopping = new AbortController();
  private stopListening: (() => void) | undefined;

  constructor(private readonly listener: DatabaseListener) {}

  /** Fires when the process shuts down: whoever waits is to end. */
  get ending(): AbortSignal {
    return this.stopping.signal;
  }

  onModuleInit(): void {
    this.stopListening = this.listener.listen(RUN_CHANGED, (runId) => this.touch(runId));
  }

  onModuleDestroy(): void {
    this.stopping.abort();
    this.stopListening?.();
  }

  watch(runId: string): RunWatch {
    const watch = new Watch(() => this.forget(runId, watch));
    const watches = this.watches.get(runId);
    if (watches) watches.add(watch);
    else this.watches.set(runId, new Set([watch]));
    return watch;
  }

  /** @param runId undefined: any of them may have changed. */
  private touch(runId: string | undefined): void {
    const touched = runId === undefined ? [...this.watches.values()] : [this.watches.get(runId) ?? []];
    for (const watches of touched) for (const watch of watches) watch.touch();
  }

  private forget(runId: string, watch: Watch): void {
    const watches = this.watches.get(runId);
    watches?.delete(watch);
    if (watches?.size === 0) this.watches.delete(runId);
  }
}

class Watch implements RunWatch {
  private isChanged = false;
  private wake: (() => void) | undefined;

  constructor(readonly close: () => void) {}

  touch(): void {
    this.isChanged = true;
    this.wake?.();
  }

  async changed(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.isChanged && !signal.aborted) await this.woken(ms, signal);
    this.isChanged = false;
  }

  private woken(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        this.wake = undefined;
        resolve();
      };
      const timer = setTimeout(end, ms);
      signal.addEventListener('abort', end);
      this.wake = end;
    });
  }
}
