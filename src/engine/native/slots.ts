import { PAGE_POSITIONS } from '../../../kernels/binding/kernels.js';
import type { Completion, SampleRequest } from '../engine.js';
import { commonLength, compareIds } from './shared-beginnings.js';

/** Most sequences that are written at the same time. */
const MOST_SLOTS = 32;

/** Prompts that are looked at for the next one to begin. */
const WINDOW = MOST_SLOTS;

/** A sequence being written. */
export interface Running {
  /** Place in the cache. */
  readonly slot: number;
  /** Index into the request's prompts. */
  readonly index: number;
  readonly ids: number[];
  readonly logProbs: number[];
}

/** A sequence about to begin, and a slot whose keys and values of the first positions are its own, too. */
export interface Begun {
  readonly running: Running;
  readonly from: number;
  /** < the prompt's length: the last token is always run. */
  readonly positions: number;
}

/**
 * Which prompt is written in which slot: `min(32, prompts)` slots, the lowest free one first. Prompts that begin alike follow each other, and one that would share a
 * page or more with another that is about to begin waits until it can take the other's keys and values over. So the composition of every step is a
 * function of the request and the ids drawn.
 */
export class Slots {
  private readonly running: (Running | undefined)[];
  /** Whose prompt a slot's first positions hold. */
  private readonly held: (Int32Array | undefined)[];
  private readonly waiting: number[];

  constructor(private readonly request: SampleRequest) {
    const slots = Slots.count(request);
    this.running = new Array<Running | undefined>(slots).fill(undefined);
    this.held = new Array<Int32Array | undefined>(slots).fill(undefined);
    this.waiting = request.prompts.map((_, index) => index).sort((a, b) => compareIds(this.prompt(a), this.prompt(b)) || a - b);
  }

  /** Slots for a request. */
  static count({ prompts }: SampleRequest): number {
    return Math.min(MOST_SLOTS, prompts.length);
  }

  /**
   * Gives free slots to waiting prompts, of at most `mostTokens` that are to be run, or to a single one.
   * @returns those that begin, in the order in which they take their beginnings over.
   */
  admit(mostTokens: number): Begun[] {
    const begun: Begun[] = [];
    let tokens = 0;
    for (let slot = 0; slot < this.running.length; slot++) {
      if (this.running[slot]) continue;
      const place = this.waiting.slice(0, WINDOW).findIndex((index) => !this.shouldWait(index, begun));
      if (place < 0) break;
      const index = this.waiting[place];
      const source = this.longestHeld(this.prompt(index));
      tokens += this.prompt(index).length - source.positions;
      if (begun.length > 0 && tokens > mostTokens) break;
      this.waiting.splice(place, 1);
      this.held[slot] = undefined;
      begun.push({ ...source, running: (this.running[slot] = { slot, index, ids: [], logProbs: [] }) });
    }
    for (const { running } of begun) this.held[running.slot] = this.prompt(running.index);
    return begun;
  }

  /** The sequences being written, by slot. */
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

  private shouldWait(index: number, begun: readonly Begun[]): boolean {
    const ids_T = this.prompt(index);
    const alike = Math.max(0, ...begun.map(({ running }) => commonLength(ids_T, this.prompt(running.index))));
    return Math.min(alike, ids_T.length - 1) - this.longestHeld(ids_T).positions >= PAGE_POSITIONS;
  }

  private longestHeld(ids_T: Int32Array): { from: number; positions: number } {
    let longest = { from: 0, positions: 0 };
    for (const [from, held] of this.held.entries()) {
      const positions = held ? Math.min(commonLength(ids_T, held), ids_T.length - 1) : 0;
      if (positions > longest.positions) longest = { from, positions };
    }
    return longest;
  }

  private prompt(index: number): Int32Array {
    return this.request.prompts[index].ids_T;
  }
}
