import { isDiskFull } from '../common/errors.js';
import { EngineFailed, type EngineInfo } from '../engine/engine.js';
import type { Clock } from './context.js';
import { rateOf, type StepMetrics } from './events.js';
import { MetricsLog } from './metrics-log.js';
import type { StageAccount } from './report.js';
import { restoreNewest, type RestoreOptions } from './restore-checkpoint.js';
import { addCosts, NO_COST } from './run-state.js';
import type { CheckpointInterval } from './spec.js';
import { lastCheckpoint, readTraining, writeTraining, type TrainingState } from './training-state.js';

/** Checkpoints of a stage that are kept: one to go on from, and two to fall back to. */
export const CHECKPOINTS_KEPT = 3;
/** Saves in a row that a full disk may cost while training goes on. */
const SAVES_MISSED = 2;

/** Whose books a desk keeps, and where. */
export interface DeskOptions extends RestoreOptions {
  readonly every: CheckpointInterval;
  readonly clock: Clock;
  readonly epoch: number;
  /** As in `RunContext`: what the steps told must last before a checkpoint says that they are never taken again. */
  readonly settled?: () => Promise<void>;
  /** Brings the engine to where the stage begins; called when it has no checkpoint yet. */
  readonly begin: () => Promise<unknown>;
}

/** Keeps the books of a training loop: where it stands, its checkpoints, its metrics, its cost. */
export class LoopDesk {
  #state: TrainingState | undefined;
  #step: number;
  #steps: number;
  #account: StageAccount;
  #latest: StepMetrics | undefined;
  /** When, and after which step, a checkpoint was last written or tried to. */
  #triedAt: number;
  #triedStep: number;
  #missed = 0;
  readonly #metrics: MetricsLog;
  readonly #opened: { readonly step: number; readonly atMs: number };

  private constructor(private readonly options: DeskOptions, state?: TrainingState) {
    this.#state = state;
    this.#step = state?.checkpoints[0].step ?? 0;
    this.#steps = state?.steps ?? Infinity;
    this.#account = state?.checkpoints[0].account ?? NO_COST;
    this.#triedAt = options.clock();
    this.#triedStep = this.#step;
    this.#opened = { step: this.#step, atMs: this.#triedAt };
    this.#metrics = new MetricsLog(options.store);
  }

  /** Brings the engine to the newest checkpoint that is whole, or to the stage's beginning, and forgets what came after it. @throws NoValidCheckpoint */
  static async open(options: DeskOptions): Promise<LoopDesk> {
    const { store, stage, student, onEvent } = options;
    const committed = await readTraining(store, stage);
    if (committed === undefined) {
      await sweepCheckpoints(options, []);
      await options.begin();
      const fresh = new LoopDesk(options);
      await fresh.#metrics.rewind(stage, 1);
      return fresh;
    }
    const restored = await restoreNewest(options, committed);
    await sweepCheckpoints(options, restored.checkpoints);
    const desk = new LoopDesk(options, restored);
    const { engine } = restored.checkpoints[0];
    const now = describeEngine(await (await student.current()).describe());
    if (now !== engine) onEvent({ kind: 'warning', message: `the checkpoint was written by ${engine}; this is ${now}: the run goes on, but not bit for bit` });
    if (desk.isDone) return desk;
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
    return lastCheckpoint(this.#state) !== undefined;
  }

  /** The stage's cost so far, earlier attempts' included as far as they reached a checkpoint. */
  get account(): StageAccount {
    return this.#account;
  }

  /** Books a finished step, and writes a checkpoint when one is due. @throws the disk's error when it is full for the third such time in a row. */
  async finishStep(metrics: StepMetrics, cost: StageAccount): Promise<void> {
    this.#step = metrics.step;
    this.#latest = metrics;
    this.#account = addCosts(this.#account, cost);
    await this.#metrics.add(metrics);
    this.#report(metrics);
    if (metrics.step < this.#steps && this.#isDue()) await this.#commitOrMiss();
  }

  /**
   * Runs a loop to its end; if it is stopped, or the teacher fails it, what was finished is kept in a checkpoint first, where the disk has room for it.
   * @param steps of the whole stage, >= 1.
   */
  async attend(steps: number, loop: () => Promise<void>): Promise<void> {
    this.#steps = steps;
    this.options.student.beginTraining();
    try {
      await loop();
    } catch (error) {
      if (!(error instanceof EngineFailed) && !isDiskFull(error) && this.#step > this.#committedStep) await this.#commitOrMiss();
      throw error;
    }
    await this.#commit();
  }

  get #committedStep(): number {
    return this.#state?.checkpoints[0]?.step ?? 0;
  }

  #report(metrics: StepMetrics): void {
    const { onEvent, stage, clock } = this.options;
    const seconds = (clock() - this.#opened.atMs) / 1000;
    onEvent({ kind: 'step', metrics });
    onEvent({ kind: 'progress', stage, label: stage, done: metrics.step, total: this.#steps, unit: 'steps', rate: rateOf(metrics.step - this.#opened.step, seconds) });
  }

  #isDue(): boolean {
    const { every, clock } = this.options;
    if (every.kind === 'time') return clock() - this.#triedAt >= every.everyMs;
    return this.#step - this.#triedStep >= every.every;
  }

  /** A full disk costs steps if the run dies, but need not end it: it may have room again at the next save. */
  async #commitOrMiss(): Promise<void> {
    try {
      await this.#commit();
      this.#missed = 0;
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      this.#missed++;
      const { stage, onEvent } = this.options;
      if (this.#missed === 1) onEvent({ kind: 'save_failed', stage, step: this.#step, code: error.code, message: error.message });
      if (this.#missed > SAVES_MISSED) throw error;
    }
  }

  /** A checkpoint is committed by the state file that names it; those that it no longer names go afterwards. One that a full disk kept from its name goes too. */
  async #commit(): Promise<void> {
    const { store, student, stage, epoch, clock, onEvent, settled } = this.options;
    const name = `checkpoints/${stage}/${this.#step}.${epoch}`;
    this.#triedAt = clock();
    this.#triedStep = this.#step;
    await this.#metrics.flush();
    await store.remove(name);
    const { bytes, step: engine_step } = await student.save({ name, dir: store.path(name) });
    const engine = describeEngine(await (await student.current()).describe());
    const checkpoints = [{ name, step: this.#step, engine_step, engine, bytes, account: this.#account }, ...(this.#state?.checkpoints ?? [])];
    const finished = this.#step === this.#steps || this.#state?.finished === true;
    await settled?.();
    await this.#adopt({ steps: this.#steps, finished, checkpoints: checkpoints.slice(0, CHECKPOINTS_KEPT) });
    const expired = checkpoints.slice(CHECKPOINTS_KEPT).map((checkpoint) => checkpoint.name);
    onEvent({ kind: 'checkpoint', stage, step: this.#step, name, bytes, ...(this.#latest && { metrics: this.#latest }), expired });
    for (const old of expired) await store.remove(old);
  }

  async #adopt(state: TrainingState): Promise<void> {
    const { store, stage } = this.options;
    try {
      await writeTraining(store, stage, state);
    } catch (error) {
      if (isDiskFull(error)) await store.remove(state.checkpoints[0].name);
      throw error;
    }
    this.#state = state;
  }
}

/** Removes checkpoints of earlier attempts, whole or not, that the state file does not name. Those of later ones are none of this attempt's business. */
async function sweepCheckpoints({ store, stage, epoch }: DeskOptions, named: TrainingState['checkpoints']): Promise<void> {
  const kept = new Set(named.map(({ name }) => name));
  await store.sweep(`checkpoints/${stage}`, (name, state) => Number(/\/\d+\.(\d+)$/.exec(name)?.[1] ?? Infinity) < epoch && !(state === 'written' && kept.has(name)));
}

function describeEngine({ implementation, build, threads }: EngineInfo): string {
  return `${implementation}, ${build}, ${threads} threads`;
}
