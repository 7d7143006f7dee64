import { Aborted } from '../common/errors.js';
import type { TeacherCounters } from './counters.js';
import { RunPlanner } from './run-planner.js';
import type { TeacherRuntime } from './runtime.js';
import { Sequence, type SequenceAnswer, type SequenceAsk } from './sequence.js';
import { QueueFull, RuntimeFailed, ServerStopping } from './teacher-server.errors.js';

export interface SchedulerOptions {
  readonly runtime: TeacherRuntime;
  readonly counters: TeacherCounters;
  readonly vocabSize: number;
  /** Sequences that generate together; as many may be scored beside them. */
  readonly maxSequences: number;
  /** Sequences that may wait for a place. */
  readonly queueLimit: number;
  readonly retryAfterSeconds: number;
}

/** The sequences of one request and who waits for them. */
interface Group {
  readonly sequences: readonly Sequence[];
  readonly resolve: (answers: SequenceAnswer[]) => void;
  readonly reject: (error: unknown) => void;
}

/** Shares the runtime among requests: sequences wait in order of arrival for a place, and those that have one run together step by step. */
export class Scheduler {
  private readonly planner: RunPlanner;
  private readonly groups = new Set<Group>();
  private waiting: Sequence[] = [];
  private active: Sequence[] = [];
  private nextLane = 0;
  private loop: Promise<void> | undefined;
  private isStopping = false;

  constructor(private readonly options: SchedulerOptions) {
    this.planner = new RunPlanner(options.runtime.rules);
  }

  /** False once nothing can be answered any more. */
  get isHealthy(): boolean {
    return !this.options.runtime.broken.aborted;
  }

  /** How many sequences wait and how many hold a place. */
  get load(): { readonly waiting: number; readonly running: number } {
    return { waiting: this.waiting.length, running: this.active.length };
  }

  /**
   * Answers all sequences of a request, in their order.
   * @param signal when it fires, their places are free from the next run on. @throws QueueFull, ServerStopping at once; RuntimeFailed; Aborted.
   */
  async answer(asks: readonly SequenceAsk[], signal: AbortSignal): Promise<SequenceAnswer[]> {
    this.refuseIfClosed(asks.length);
    if (signal.aborted) throw new Aborted('the request');
    const host = { vocabSize: this.options.vocabSize, rules: this.options.runtime.rules };
    const sequences = asks.map((ask) => new Sequence(ask, this.nextLane++, host));
    this.countAsked(asks);
    return new Promise((resolve, reject) => {
      const group: Group = { sequences, resolve, reject };
      this.groups.add(group);
      signal.addEventListener('abort', () => this.abandon(group), { once: true });
      this.waiting.push(...sequences);
      this.loop ??= this.work();
    });
  }

  /** Takes no more requests, lets those at work finish for as long as `graceMs`, then drops them. */
  async stop(graceMs: number): Promise<void> {
    this.isStopping = true;
    const deadline = setTimeout(() => this.failAll(new ServerStopping()), graceMs);
    await this.loop;
    clearTimeout(deadline);
  }

  private refuseIfClosed(count: number): void {
    const { queueLimit, retryAfterSeconds, runtime } = this.options;
    if (this.isStopping) throw new ServerStopping();
    if (runtime.broken.aborted) throw new RuntimeFailed(String(runtime.broken.reason));
    if (this.waiting.length + count <= queueLimit) return;
    this.options.counters.add('requests_refused_full');
    throw new QueueFull(this.waiting.length, queueLimit, retryAfterSeconds);
  }

  private async work(): Promise<void> {
    // Requests that arrive in one turn of the event loop start together.
    await Promise.resolve();
    for (this.admit(); this.active.length > 0; this.admit()) {
      try {
        await this.runOnce(this.planner.next(this.active));
      } catch (error) {
        this.failAll(error);
      }
    }
    // In the same turn as the check above, so that whoever asks next starts anew.
    this.loop = undefined;
  }

  private async runOnce(chosen: readonly Sequence[]): Promise<void> {
    const k = Math.max(...chosen.map((sequence) => sequence.k));
    const rows = await this.options.runtime.run({ parts: chosen.map((sequence) => sequence.nextPart()), k });
    this.options.counters.add('runs');
    let index = 0;
    for (const sequence of chosen) {
      const { rowCount } = sequence;
      sequence.accept({ rows, index, k });
      index += rowCount;
      if (sequence.answer) this.options.runtime.forget(sequence.lane);
    }
    this.active = this.active.filter((sequence) => !sequence.answer);
    for (const group of this.groups) this.settle(group);
  }

  /**
   * Gives places to those who waited longest. Scores and answers have places of their own, so that neither waits for the other's. Where the lanes would
   * hold too many positions, whoever comes first waits until there is room, and those behind wait too, so that the long are not passed over for ever.
   */
  private admit(): void {
    const free = { scoring: this.options.maxSequences, generating: this.options.maxSequences };
    let room = this.options.runtime.rules.heldPositions;
    const enter = (sequence: Sequence): void => {
      free[kindOf(sequence)] -= 1;
      room -= sequence.room;
    };
    this.active.forEach(enter);
    let isFull = false;
    this.waiting = this.waiting.filter((sequence) => {
      if (isFull || free[kindOf(sequence)] === 0) return true;
      isFull = sequence.room > room;
      if (isFull) return true;
      enter(sequence);
      this.active.push(sequence);
      return false;
    });
  }

  private settle(group: Group): void {
    const answers = group.sequences.map((sequence) => sequence.answer).filter((answer) => answer !== undefined);
    if (answers.length < group.sequences.length) return;
    this.groups.delete(group);
    this.countAnswered(group, answers);
    group.resolve(answers);
  }

  private abandon(group: Group): void {
    if (!this.groups.has(group)) return;
    this.drop(group, new Aborted('the request'));
    this.options.counters.add('sequences_abandoned', group.sequences.length);
  }

  private drop(group: Group, error: unknown): void {
    this.groups.delete(group);
    const isDropped = (sequence: Sequence): boolean => group.sequences.includes(sequence);
    for (const sequence of this.active.filter(isDropped)) this.options.runtime.forget(sequence.lane);
    this.active = this.active.filter((sequence) => !isDropped(sequence));
    this.waiting = this.waiting.filter((sequence) => !isDropped(sequence));
    group.reject(error);
  }

  private failAll(error: unknown): void {
    for (const group of this.groups) this.drop(group, error);
  }

  private countAsked(asks: readonly SequenceAsk[]): void {
    const { counters } = this.options;
    counters.add('requests');
    for (const ask of asks) counters.add(ask.promptLogprobs === undefined ? 'sequences_generated_asked' : 'sequences_scored_asked');
  }

  private countAnswered(group: Group, answers: readonly SequenceAnswer[]): void {
    const { counters } = this.options;
    group.sequences.forEach(({ ask }, index) => {
      counters.add(ask.promptLogprobs === undefined ? 'sequences_generated' : 'sequences_scored');
      counters.add('prompt_tokens', ask.prompt_T.length);
      counters.add('completion_tokens', answers[index].completion.length);
    });
  }
}

function kindOf(sequence: Sequence): 'scoring' | 'generating' {
  return sequence.isScoring ? 'scoring' : 'generating';
}
