import type { CacheShape } from '../runtime-options.js';

/** Rows to write into a lane: those of batch entry `entry` in arrays of `[B, H, S, K]`, the first `count` of S. */
export interface FreshRows {
  readonly arrays: readonly Float32Array[];
  readonly entry: number;
  readonly fresh: number;
  readonly count: number;
}

/**
 * Keys and values of several lanes in arrays that the model reads as they are: two a layer, each `[slots, H, P, K]`. Lanes lie in slots 0 … n - 1
 * without gaps, so that appending a position copies that position only, and a lane that leaves costs one move.
 */
export class LaneBatch {
  private readonly lanes: number[] = [];
  private arrays: Float32Array[];
  private capacity = 1;

  /** @param columns P, at least 1. */
  constructor(
    private readonly shape: CacheShape,
    readonly columns: number,
  ) {
    this.arrays = this.allocate();
  }

  get size(): number {
    return this.lanes.length;
  }

  /** The lane's slot. */
  slotOf(lane: number): number {
    return this.lanes.indexOf(lane);
  }

  /** Gives the lane a slot of undefined but finite content. */
  add(lane: number): void {
    if (this.lanes.length === this.capacity) this.grow();
    this.lanes.push(lane);
  }

  /** Frees the lane's slot and moves the last lane into it. */
  remove(lane: number): void {
    const slot = this.slotOf(lane);
    const last = this.lanes.length - 1;
    for (const array of this.arrays) array.copyWithin(slot * this.slotFloats, last * this.slotFloats, (last + 1) * this.slotFloats);
    this.lanes[slot] = this.lanes[last];
    this.lanes.pop();
  }

  /** Copies the first `held` positions of a lane of another batch into this one's slot of it. */
  copyFrom(source: LaneBatch, lane: number, held: number): void {
    const from = source.slotOf(lane) * source.slotFloats;
    const to = this.slotOf(lane) * this.slotFloats;
    const { kvHeads, headDim } = this.shape;
    this.arrays.forEach((array, index) => {
      for (let head = 0; head < kvHeads; head++) {
        const begin = from + head * source.columns * headDim;
        array.set(source.arrays[index].subarray(begin, begin + held * headDim), to + head * this.columns * headDim);
      }
    });
  }

  /** Writes fresh rows at columns `held`, `held + 1`, … of a lane. */
  append(lane: number, held: number, rows: FreshRows): void {
    const to = this.slotOf(lane) * this.slotFloats;
    const { kvHeads, headDim } = this.shape;
    this.arrays.forEach((array, index) => {
      for (let head = 0; head < kvHeads; head++) {
        const begin = (rows.entry * kvHeads + head) * rows.fresh * headDim;
        array.set(rows.arrays[index].subarray(begin, begin + rows.count * headDim), to + (head * this.columns + held) * headDim);
      }
    });
  }

  /** The arrays of all lanes in slot order, without copying: valid until the batch changes. */
  whole(): readonly Float32Array[] {
    return this.arrays.map((array) => array.subarray(0, this.lanes.length * this.slotFloats));
  }

  /** Copies of some lanes, in the order given. */
  gather(lanes: readonly number[]): readonly Float32Array[] {
    const slots = lanes.map((lane) => this.slotOf(lane));
    return this.arrays.map((array) => {
      const gathered = new Float32Array(slots.length * this.slotFloats);
      slots.forEach((slot, entry) => gathered.set(array.subarray(slot * this.slotFloats, (slot + 1) * this.slotFloats), entry * this.slotFloats));
      return gathered;
    });
  }

  private get slotFloats(): number {
    return this.shape.kvHeads * this.columns * this.shape.headDim;
  }

  private allocate(): Float32Array[] {
    return Array.from({ length: 2 * this.shape.layers }, () => new Float32Array(this.capacity * this.slotFloats));
  }

  private grow(): void {
    const old = this.arrays;
    this.capacity *= 2;
    this.arrays = this.allocate();
    this.arrays.forEach((array, index) => array.set(old[index]));
  }
}
