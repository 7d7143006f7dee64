import { SingleBar } from 'cli-progress';
import type { RunEvent, StepMetrics } from '../distillation/events.js';

/** Shows a run's events to whoever started it. `close` leaves the terminal as it was. */
export interface ProgressView {
  show(event: RunEvent): void;
  close(): void;
}

/** Seconds between two plain progress lines of one stage: a log should tell, not scroll. */
const PLAIN_INTERVAL_SECONDS = 10;

/** Bars with rate and time left on a terminal, plain lines elsewhere. Both write to standard error: standard output is for results. */
export function humanProgress(): ProgressView {
  return process.stderr.isTTY ? new BarView() : new PlainView(() => performance.now() / 1000);
}

/** One JSON object an event on standard output. */
export function jsonProgress(): ProgressView {
  return { show: (event) => void process.stdout.write(`${JSON.stringify(event)}\n`), close: () => undefined };
}

/** What a line says of one event; undefined for events a person need not read. */
export function describeEvent(event: RunEvent): string | undefined {
  switch (event.kind) {
    case 'stage_started':
      return `${event.label} …`;
    case 'stage_skipped':
      return `${event.label}: done before`;
    case 'stage_finished':
      return `${event.label}: ${duration(event.seconds)}`;
    case 'resumed':
      return `${event.stage}: goes on at step ${event.firstStep}`;
    case 'check':
      return `  check ${event.name}: ${event.verdict} (${event.found})`;
    case 'quarantined':
      return `warning: checkpoint ${event.name} is damaged and was set aside: ${event.message}`;
    case 'save_failed':
      return `warning: ${event.stage}: no checkpoint after step ${event.step}: ${event.message}`;
    case 'warning':
      return `warning: ${event.message}`;
    case 'step':
    case 'progress':
    case 'checkpoint':
    case 'samples':
      return undefined;
  }
}

/** Such as `distill step 3/24`, without the number of steps where nobody told it. */
export function stepTitle({ stage, step, steps }: StepMetrics): string {
  return `${stage} step ${step}${steps >= step ? `/${steps}` : ''}`;
}

/** One line of a training step's numbers. */
export function describeStep(metrics: StepMetrics): string {
  const parts = [`loss ${metrics.loss.toFixed(4)}`];
  if (metrics.forward_kl !== undefined) parts.push(`fkl ${metrics.forward_kl.toFixed(3)}`);
  if (metrics.reverse_kl !== undefined) parts.push(`rkl ${metrics.reverse_kl.toFixed(3)}`);
  parts.push(`grad ${metrics.grad_norm.toFixed(2)}`, `${metrics.tokens_per_second.toFixed(0)} tok/s`);
  return parts.join('  ');
}

/** `74 s` below two minutes, else `3 min 5 s`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  return whole < 120 ? `${seconds < 10 ? seconds.toFixed(1) : whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

class PlainView implements ProgressView {
  private lastLineAt = -Infinity;

  constructor(private readonly nowSeconds: () => number) {}

  show(event: RunEvent): void {
    const line = event.kind === 'step' ? this.stepLine(event.metrics) : event.kind === 'progress' ? this.progressLine(event) : describeEvent(event);
    if (line !== undefined) process.stderr.write(`${line}\n`);
  }

  close(): void {
    this.lastLineAt = -Infinity;
  }

  private stepLine(metrics: StepMetrics): string | undefined {
    return this.due(metrics.step === metrics.steps) ? `  ${stepTitle(metrics)}  ${describeStep(metrics)}` : undefined;
  }

  private progressLine(event: Extract<RunEvent, { kind: 'progress' }>): string | undefined {
    if (event.stage === 'distill' || event.stage === 'align') return undefined; // their steps say more
    return this.due(event.done === event.total) ? `  ${event.label} ${event.done}/${event.total} ${event.unit}  ${event.rate.toFixed(1)}/s` : undefined;
  }

  /** Whether enough time has passed for another line; the last one of a stage always comes. */
  private due(last: boolean): boolean {
    const now = this.nowSeconds();
    if (!last && now - this.lastLineAt < PLAIN_INTERVAL_SECONDS) return false;
    this.lastLineAt = now;
    return true;
  }
}

class BarView implements ProgressView {
  private bar: SingleBar | undefined;
  private detail = '';

  show(event: RunEvent): void {
    if (event.kind === 'step') {
      this.detail = describeStep(event.metrics);
      this.bar?.update({ detail: this.detail });
      return;
    }
    if (event.kind === 'progress') {
      this.advance(event);
      return;
    }
    const line = describeEvent(event);
    if (line === undefined) return;
    this.endBar();
    process.stderr.write(`${line}\n`);
  }

  close(): void {
    this.endBar();
  }

  private advance(event: Extract<RunEvent, { kind: 'progress' }>): void {
    const payload = { label: event.label.padEnd(20), rate: event.rate.toFixed(1), unit: event.unit, detail: this.detail };
    if (!this.bar) {
      const format = '  {label} {bar} {value}/{total} {unit}  {rate}/s  {eta_formatted} left  {detail}';
      this.bar = new SingleBar({ format, barsize: 24, hideCursor: true, stream: process.stderr, clearOnComplete: true, etaBuffer: 50 });
      this.bar.start(event.total, event.done, payload);
      return;
    }
    this.bar.setTotal(event.total);
    this.bar.update(event.done, payload);
  }

  private endBar(): void {
    this.bar?.stop();
    this.bar = undefined;
    this.detail = '';
  }
}
