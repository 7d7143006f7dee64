import type { Engine, SavedCheckpoint } from '../engine/engine.js';

const STARTING_WEIGHTS = 'starting weights';

/** Where a checkpoint lies. */
export interface CheckpointPlace {
  /** Its name in the store. */
  readonly name: string;
  readonly dir: string;
}

/** The engine that the stages of one process share. It is opened when first needed and knows what it holds, so that nothing is loaded twice. */
export class StudentEngine {
  #engine: Engine | undefined;
  /** Name of what the engine holds; undefined once trained on. */
  #holds: string | undefined;

  /** @param open on the starting student. */
  constructor(private readonly open: () => Promise<Engine>) {}

  /** The engine, with whatever it holds. */
  async current(): Promise<Engine> {
    if (!this.#engine) {
      this.#engine = await this.open();
      this.#holds = STARTING_WEIGHTS;
    }
    return this.#engine;
  }

  /** The engine on the starting weights, no step taken. */
  async start(): Promise<Engine> {
    if (this.#holds !== STARTING_WEIGHTS) await this.close();
    return this.current();
  }

  /** @param step optimiser steps in the checkpoint. @throws CheckpointInvalid, with the engine as it was. */
  async load({ name, dir }: CheckpointPlace, step: number): Promise<void> {
    if (this.#engine && this.#holds === name) return;
    await (await this.current()).load({ dir, step });
    this.#holds = name;
  }

  /** Writes what the engine holds. */
  async save({ name, dir }: CheckpointPlace): Promise<SavedCheckpoint> {
    const saved = await (await this.current()).save(dir);
    this.#holds = name;
    return saved;
  }

  /** Says that the engine will be trained from here on. */
  beginTraining(): void {
    this.#holds = undefined;
  }

  async close(): Promise<void> {
    const engine = this.#engine;
    this.#engine = undefined;
    this.#holds = undefined;
    await engine?.close();
  }
}
