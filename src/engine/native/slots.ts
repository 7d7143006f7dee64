import type { Completion, SampleRequest } from '../engine.js';

/** Most sequences that are written at the same time. */
const MOST_SLOTS = 32;

/** A sequence being written. */
export interface Running {
  /** Place in the cache. */
  readonly slot: number;
  /** Index into the request's prompts. */
  readonly index: number;
  readonly ids: number[];
  readonly logProbs: number[];
}

/**
 * Which prompt is written in which slot: `min(32, prompts)` slots, filled in request order, the lowest free slot first. So the composition of every
 * step is a function of the request and the ids drawn.
 */
export class Slots {
  private readonly running: (Running | undefined)[];
  private next = 0;

  constructor(private readonly request: SampleRequest) {
    this.running = new Array<Running | undefined>(Slots.count(request)).fill(undefined);
  }

  /** Slots for a request. */
  static count({ prompts }: SampleRequest): number {
    return Math.min(MOST_SLOTS, prompts.length);
  }

  /** Gives free slots to waiting prompts. @returns the sequences that begin, by slot. */
  admit(): Running[] {
    const begun: Running[] = [];
    for (let slot = 0; slot < this.running.length && this.next < this.request.prompts.length; slot++) {
      if (this.running[slot]) continue;
      begun.push((this.running[slot] = { slot, index: this.next++, ids: [], logProbs: [] }));
    }
    return begun;
  }

  /** The sequences that go on, by slot. */
  active(): Running[] {
    return this.running.filter((entry) => entry !== undefined);
  }

  /** Adds a drawn id. @returns the completion when this id ends it; the slot is free then. */
  append(running: Running, id: number, logProb: number): Completion | undefined {
    const { maxTokens, stopIds } = this.request.sampling;
    running.ids.push(id);
    running.logProbs.push(logProb);
    const isStopped = stopIds.includes(id);
    if (!isStopped && running.ids.length < maxTokens) return undefined;
    this.running[running.slot] = undefined;
    return {
      index: running.index,
      ids_T: Int32Array.from(running.ids),
      logProbs_T: Float32Array.from(running.logProbs),
      finish: isStopped ? 'stop' : 'length',
    };
  }
}
