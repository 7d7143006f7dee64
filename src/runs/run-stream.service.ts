import { Inject, Injectable } from '@nestjs/common';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { RunChanges } from './run-changes.service.js';
import { RunHistory, type FeedMessage } from './run-history.service.js';
import { isFinished } from './run-states.js';
import { RunsService } from './runs.service.js';

/** What a stream says next. `done` has no number of its own: it follows whatever was the last entry. */
export type StreamMessage = FeedMessage | { readonly event: 'done'; readonly data: object };

/** Entries read at once: what a stream holds in memory while its reader is slow. */
const PAGE = 100;

/** The feed of one job as it grows. */
@Injectable()
export class RunStream {
  constructor(
    private readonly runs: RunsService,
    private readonly history: RunHistory,
    private readonly changes: RunChanges,
    @Inject(API_SETTINGS) private readonly settings: Pick<ApiSettings, 'streamPollMs'>,
  ) {}

  /**
   * Every entry with a number above `after`, in order, none left out and none twice; ends with `done` after the last entry of a finished job.
   * It ends early when `signal` fires or the process shuts down. @throws RunUnknown when there is no such job, or it was deleted meanwhile.
   */
  async *messages(runId: string, after: number, signal: AbortSignal): AsyncGenerator<StreamMessage> {
    const watch = this.changes.watch(runId);
    const ending = AbortSignal.any([signal, this.changes.ending]);
    let last = after;
    try {
      while (!ending.aborted) {
        const run = await this.runs.state(runId); // before its entries: those of a finished run are all there then
        for await (const entry of this.entries(runId, last, ending)) {
          last = entry.seq;
          yield entry;
        }
        if (isFinished(run.status) && last >= run.seq) return yield { event: 'done', data: { status: run.status } };
        await watch.changed(this.settings.streamPollMs, ending);
      }
    } finally {
      watch.close();
    }
  }

  /** Resolves when the job is finished, or after `ms`. @throws RunUnknown */
  async finished(runId: string, ms: number, signal: AbortSignal): Promise<void> {
    const watch = this.changes.watch(runId);
    const ending = AbortSignal.any([signal, this.changes.ending]);
    const until = performance.now() + ms;
    try {
      while (!isFinished((await this.runs.state(runId)).status)) {
        const left = until - performance.now();
        if (left <= 0 || ending.aborted) return;
        await watch.changed(Math.min(left, this.settings.streamPollMs), ending);
      }
    } finally {
      watch.close();
    }
  }

  private async *entries(runId: string, after: number, ending: AbortSignal): AsyncGenerator<FeedMessage> {
    let page: FeedMessage[];
    let last = after;
    do {
      page = await this.history.feed(runId, last, PAGE);
      last = page.at(-1)?.seq ?? last;
      yield* page;
    } while (page.length === PAGE && !ending.aborted);
  }
}
