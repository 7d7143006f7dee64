import type { RunEvent } from '../distillation/events.js';
import { FencedOut, type Claim } from '../runs/stage-ledger.service.js';
import type { StageProgress, StageReports } from '../runs/stage-reports.service.js';
import { MetricBuffer } from './metric-buffer.js';
import { mayPass } from './patience.js';

/** What a reporter works with. */
export interface ReporterOptions {
  readonly claim: Claim;
  readonly reports: Pick<StageReports, 'progress' | 'event' | 'checkpoint' | 'quarantine' | 'samples' | 'metrics' | 'teacherAway' | 'teacherAttempts'>;
  /** Does a write, again where the database is away. */
  readonly write: (work: () => Promise<void>) => Promise<void>;
  readonly flushMs: number;
  readonly flushPoints: number;
  /** Told of a write that failed; the run goes on without it. */
  readonly onUnwritten: (error: unknown) => void;
}

/** Tells the ledger what a stage tells: in order, one write at a time, points in batches, of progress only the newest. */
export class RunReporter {
  private readonly metrics: MetricBuffer;
  private readonly timer: NodeJS.Timeout;
  private newest: StageProgress | undefined;
  private attempts = 0;
  private written: Promise<void> = Promise.resolve();
  private givenUp: { readonly error: unknown } | undefined;

  constructor(private readonly options: ReporterOptions) {
    this.metrics = new MetricBuffer(options.flushPoints);
    this.timer = setInterval(() => this.flush(), options.flushMs);
  }

  /** Takes an event of the core; returns at once. */
  readonly onEvent = (event: RunEvent): void => {
    const { reports, claim } = this.options;
    switch (event.kind) {
      case 'progress':
        this.newest = { label: event.label, done: event.done, total: event.total, unit: event.unit, rate: event.rate };
        return;
      case 'step':
        if (this.metrics.add(event.metrics)) this.flush();
        return;
      case 'checkpoint':
        this.flush();
        return this.push(() => reports.checkpoint(claim, event));
      case 'quarantined':
        return this.push(() => reports.quarantine(claim, event));
      case 'save_failed':
        return this.push(() => reports.event(claim, { level: 'warn', type: 'checkpoint.failed', message: event.message, data: { step: event.step, code: event.code } }));
      case 'samples':
        return this.push(() => reports.samples(claim, event.label, event.samples));
      case 'check':
        return this.push(() => reports.event(claim, checkEntry(event)));
      case 'resumed':
        return this.push(() => reports.event(claim, { type: 'checkpoint.loaded', message: `${event.stage} goes on at step ${event.firstStep}`, data: { first_step: event.firstStep } }));
      case 'warning':
        return this.push(() => reports.event(claim, { level: 'warn', type: 'warning', message: event.message }));
      case 'stage_started':
      case 'stage_skipped':
      case 'stage_finished': // the ledger tells of stages itself
    }
  };

  /** Takes what the stage's teacher client tells; returns at once. */
  readonly onAttempt = (): void => void this.attempts++;
  readonly onAway = (isAway: boolean): void => {
    const { reports, claim } = this.options;
    this.push(() => reports.teacherAway(claim, isAway));
  };

  /**
   * Everything told so far is written, or was refused for what it is, when this resolves: a step is committed behind its points, and training that is
   * faster than they are stored waits here, so that no more of them is held than one checkpoint interval measures.
   * @throws what ended the tries of a write that could have succeeded; FencedOut.
   */
  readonly settled = async (): Promise<void> => {
    this.flush();
    await this.written;
    if (this.givenUp) throw this.givenUp.error;
  };

  /** Everything told so far is written, or has failed, when this returns; then the reporter is done. */
  async close(): Promise<void> {
    clearInterval(this.timer);
    this.flush();
    await this.written;
  }

  private flush(): void {
    const { reports, claim } = this.options;
    const progress = this.newest;
    this.newest = undefined;
    if (progress) this.push(() => reports.progress(claim, progress)); // first: it says of how many steps the points are
    const attempts = this.attempts;
    this.attempts = 0;
    if (attempts > 0) this.push(() => reports.teacherAttempts(claim, attempts));
    for (const batch of this.metrics.take()) this.push(() => reports.metrics(claim, batch));
  }

  private push(work: () => Promise<void>): void {
    const { write, onUnwritten } = this.options;
    this.written = this.written
      .then(() => write(work))
      .catch((error: unknown) => {
        if (mayPass(error) || error instanceof FencedOut) this.givenUp ??= { error };
        onUnwritten(error);
      });
  }
}

function checkEntry({ name, verdict, found }: Extract<RunEvent, { kind: 'check' }>) {
  const level = verdict === 'passed' ? ('info' as const) : ('warn' as const);
  return { level, type: `check.${verdict}`, message: `${name}: ${found}`, data: { check: name, found } };
}
