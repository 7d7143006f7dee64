import { z } from 'zod';
import { EngineFailed, type Engine, type EngineInfo } from '../engine/engine.js';
import type { Clock } from './context.js';
import { rateOf, type RunEvent, type StepMetrics } from './events.js';
import { MetricsLog } from './metrics-log.js';
import type { StageAccount } from './report.js';
import { accountSchema, addCosts, NO_COST, readState, writeState } from './run-state.js';
import type { CheckpointEvery } from './spec.js';
import type { RunStore } from './store.js';

const loopState = z.strictObject({
  /** Steps of the stage that the checkpoint holds. */
  step: z.int().min(0),
  steps: z.int().min(0),
  done: z.boolean(),
  /** Name of the checkpoint's directory; a checkpoint counts only while a state file names it. */
  checkpoint: z.string(),
  /** Optimiser steps in it, earlier stages included. */
  engine_step: z.int().min(0),
  /** What its bits depend on. */
  engine: z.string(),
  account: accountSchema,
});
type LoopState = z.output<typeof loopState>;

/** Whose books a desk keeps, and where. */
export interface DeskOptions {
  readonly store: RunStore;
  readonly engine: Engine;
  readonly stage: 'distill' | 'align';
  readonly every: CheckpointEvery;
  readonly clock: Clock;
  readonly epoch: number;
  readonly onEvent: (event: RunEvent) => void;
}

/** Keeps the books of a training loop: where it stands, its checkpoints, its metrics, its cost. */
export class LoopDesk {
  #committed: LoopState | undefined;
  #step: number;
  #account: StageAccount;
  #checkpointAt: number;
  readonly #metrics: MetricsLog;
  readonly #opened: { readonly step: number; readonly atMs: number };

  private constructor(private readonly options: DeskOptions, committed: LoopState | undefined, private readonly steps: number) {
    this.#committed = committed;
    this.#step = committed?.step ?? 0;
    this.#account = committed?.account ?? NO_COST;
    this.#checkpointAt = options.clock();
    this.#opened = { step: this.#step, atMs: this.#checkpointAt };
    this.#metrics = new MetricsLog(options.store);
  }

  /** Finds the last committed checkpoint, loads it into the engine and forgets what came after it. @param steps of the whole stage. */
  static async open(options: DeskOptions, steps: number): Promise<LoopDesk> {
    const { store, engine, stage, onEvent } = options;
    const committed = await readState(store, stateFile(stage), loopState);
    const desk = new LoopDesk(options, committed, steps);
    if (committed === undefined) {
      await desk.#metrics.rewind(stage, 1);
      return desk;
    }
    const now = describeEngine(await engine.describe());
    if (now !== committed.engine) onEvent({ kind: 'warning', message: `the checkpoint was written by ${committed.engine}; this is ${now}: the run goes on, but not bit for bit` });
    await engine.load({ dir: store.path(committed.checkpoint), step: committed.engine_step });
    if (committed.done) return desk;
    await desk.#metrics.rewind(stage, desk.firstStep);
    onEvent({ kind: 'resumed', stage, firstStep: desk.firstStep });
    return desk;
  }

  /** The step to take next, 1-based; beyond the last when the stage is done. */
  get firstStep(): number {
    return this.#step + 1;
  }

  /** Whether all steps of the stage are behind a committed checkpoint. */
  get isDone(): boolean {
    return this.#committed?.done === true;
  }

  /** The stage's cost so far, earlier attempts' included as far as they reached a checkpoint. */
  get account(): StageAccount {
    return this.#account;
  }

  /** Books a finished step, and writes a checkpoint when one is due. */
  async finishStep(metrics: StepMetrics, cost: StageAccount): Promise<void> {
    this.#step = metrics.step;
    this.#account = addCosts(this.#account, cost);
    await this.#metrics.add(metrics);
    this.#report(metrics);
    if (metrics.step < this.steps && this.#isDue()) await this.#commit(false);
  }

  /** Runs a loop to its end; if it is stopped, or the teacher fails it, what was finished is kept in a checkpoint first. */
  async attend(loop: () => Promise<void>): Promise<void> {
    try {
      await loop();
    } catch (error) {
      if (!(error instanceof EngineFailed) && this.#step > (this.#committed?.step ?? 0)) await this.#commit(false);
      throw error;
    }
    await this.#commit(true);
  }

  #report(metrics: StepMetrics): void {
    const { onEvent, stage, clock } = this.options;
    const seconds = (clock() - this.#opened.atMs) / 1000;
    onEvent({ kind: 'step', metrics });
    onEvent({ kind: 'progress', stage, label: stage, done: metrics.step, total: this.steps, unit: 'steps', rate: rateOf(metrics.step - this.#opened.step, seconds) });
  }

  #isDue(): boolean {
    const { every, clock } = this.options;
    if (every.kind === 'time') return clock() - this.#checkpointAt >= every.everyMs;
    return this.#step - (this.#committed?.step ?? 0) >= every.every;
  }

  async #commit(done: boolean): Promise<void> {
    const { store, engine, stage, epoch, clock } = this.options;
    const previous = this.#committed?.checkpoint;
    const checkpoint = `checkpoints/${stage}/${this.#step}.${epoch}`;
    if (checkpoint !== previous) {
      await store.remove(checkpoint);
      await engine.save(store.path(checkpoint));
    }
    const info = await engine.describe();
    this.#committed = { step: this.#step, steps: this.steps, done, checkpoint, engine_step: info.step, engine: describeEngine(info), account: this.#account };
    await writeState(store, stateFile(stage), this.#committed);
    this.#checkpointAt = clock();
    if (previous !== undefined && previous !== checkpoint) await store.remove(previous);
  }
}

function stateFile(stage: string): string {
  return `state/${stage}.json`;
}

function describeEngine({ implementation, build, threads }: EngineInfo): string {
  return `${implementation}, ${build}, ${threads} threads`;
}
