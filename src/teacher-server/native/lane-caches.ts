import { PAGE_POSITIONS, cacheLength, NO_TENSOR, type Kernels, type Tensor } from '../../../kernels/binding/kernels.js';
import type { LayerCache } from '../../engine/native/operations.js';
import { RuntimeFailed } from '../teacher-server.errors.js';

/** Columns of the narrowest class; each class is twice as wide as the one before. */
const NARROWEST = 64;
/** Slots by which a class grows at most. */
const MOST_NEW_SLOTS = 8;

/** Sizes of the caches. */
export interface LaneCacheShape {
  readonly layers: number;
  /** W: columns of the keys of one position, Hkv K; values have as many. */
  readonly width: number;
  /** Longest lane in positions. */
  readonly maxLength: number;
}

/** Where a lane lies: slot `slot` of the caches of `cache`. */
export interface LanePlace {
  readonly cache: CacheClass;
  readonly slot: number;
}

/** Caches of lanes of up to `columns` positions, whole pages: bf16 [slots columns / 16, 16 W], two a layer. A slot's pages lie one behind the other. */
export class CacheClass {
  readonly layers: LayerCache[] = [];
  /** i32 [slots, columns / 16]: which those are. */
  pages: Tensor = NO_TENSOR;
  private slots = 0;
  private readonly free: number[] = [];

  constructor(
    private readonly kernels: Kernels,
    private readonly shape: LaneCacheShape,
    readonly columns: number,
  ) {}

  /** @returns a slot of unspecified content, the lowest that is free. */
  take(): number {
    if (this.free.length === 0) this.grow();
    return this.free.shift() ?? 0;
  }

  give(slot: number): void {
    this.free.push(slot);
    this.free.sort((a, b) => a - b);
  }

  /** Whether a slot can be taken without more memory. */
  get hasFree(): boolean {
    return this.free.length > 0;
  }

  /** Gives the memory back if no slot is taken. */
  releaseIdle(): void {
    if (this.free.length === this.slots) this.release();
  }

  /** Copies the first `held` positions of a slot to one of a wider class. */
  copyTo(target: CacheClass, { from, to, held }: { from: number; to: number; held: number }): void {
    for (const [layer, { k, v }] of this.layers.entries()) {
      const wider = target.layers[layer];
      for (const [source, destination] of [[k, wider.k], [v, wider.v]]) {
        this.copy({ tensor: source, offset: this.offsetOf(from) }, { tensor: destination, offset: target.offsetOf(to) }, cacheLength(held) * this.shape.width);
      }
    }
  }

  /** The first element of a slot. */
  offsetOf(slot: number): number {
    return slot * this.columns * this.shape.width;
  }

  release(): void {
    for (const { k, v } of this.layers) for (const tensor of [k, v]) this.kernels.free(tensor);
    if (this.pages !== NO_TENSOR) this.kernels.free(this.pages);
    this.pages = NO_TENSOR;
    this.layers.length = 0;
    this.slots = 0;
    this.free.length = 0;
  }

  // A layer at a time, so that old and new are never both there for all of them.
  private grow(): void {
    const before = this.slots;
    const after = before + Math.min(MOST_NEW_SLOTS, Math.max(1, before));
    for (let layer = 0; layer < this.shape.layers; layer++) {
      const old = this.layers.at(layer);
      this.layers[layer] = { k: this.grown(old?.k, before, after), v: this.grown(old?.v, before, after) };
    }
    const pages = this.kernels.alloc('i32', [after, this.pagesASlot]);
    this.kernels.write(pages, Int32Array.from({ length: after * this.pagesASlot }, (_, page) => page));
    if (this.pages !== NO_TENSOR) this.kernels.free(this.pages);
    this.pages = pages;
    for (let slot = before; slot < after; slot++) this.free.push(slot);
    this.slots = after;
  }

  private get pagesASlot(): number {
    return this.columns / PAGE_POSITIONS;
  }

  private grown(old: Tensor | undefined, before: number, after: number): Tensor {
    const tensor = this.kernels.alloc('bf16', [after * this.pagesASlot, PAGE_POSITIONS * this.shape.width]);
    if (old === undefined) return tensor;
    this.copy({ tensor: old, offset: 0 }, { tensor, offset: 0 }, this.offsetOf(before));
    this.kernels.free(old);
    return tensor;
  }

  private copy(source: Window, target: Window, elements: number): void {
    const views = [source, target].map(({ tensor, offset }) => this.kernels.view(tensor, offset, [elements]));
    this.kernels.convert(views[0], views[1]);
    for (const view of views) this.kernels.free(view);
  }
}

interface Window {
  readonly tensor: Tensor;
  readonly offset: number;
}

interface Lane extends LanePlace {
  readonly held: number;
}

/**
 * The keys and values of all lanes in native memory, in classes of widths that double. A lane that outgrows its class is copied into the next, so that
 * memory follows what lanes hold and not what they might. A class nobody uses keeps its memory until another one needs more.
 */
export class LaneCaches {
  private readonly lanes = new Map<number, Lane>();
  private readonly classes = new Map<number, CacheClass>();

  constructor(
    private readonly kernels: Kernels,
    private readonly shape: LaneCacheShape,
  ) {}

  /**
   * Finds room for `count` positions behind the `held` ones of a lane, which counts as holding them from now on.
   * @throws RuntimeFailed when the lane holds another number.
   */
  extend(lane: number, held: number, count: number): LanePlace {
    const before = this.lanes.get(lane);
    if ((before?.held ?? 0) !== held) throw new RuntimeFailed(`lane ${lane} holds ${before?.held ?? 0} positions where ${held} were expected`);
    const place = this.placed(before, held + count);
    this.lanes.set(lane, { ...place, held: held + count });
    return place;
  }

  forget(lane: number): void {
    const place = this.lanes.get(lane);
    if (!place) return;
    this.lanes.delete(lane);
    place.cache.give(place.slot);
  }

  free(): void {
    for (const cache of this.classes.values()) cache.release();
    this.lanes.clear();
  }

  private placed(before: Lane | undefined, positions: number): LanePlace {
    if (before && positions <= before.cache.columns) return { cache: before.cache, slot: before.slot };
    const cache = this.classFor(positions);
    if (!cache.hasFree) for (const other of this.classes.values()) if (other !== cache) other.releaseIdle();
    const slot = cache.take();
    if (before) {
      before.cache.copyTo(cache, { from: before.slot, to: slot, held: before.held });
      before.cache.give(before.slot);
    }
    return { cache, slot };
  }

  private classFor(positions: number): CacheClass {
    let columns = NARROWEST;
    while (columns < positions) columns *= 2;
    columns = cacheLength(Math.max(positions, Math.min(columns, this.shape.maxLength)));
    const existing = this.classes.get(columns);
    if (existing) return existing;
    const cache = new CacheClass(this.kernels, this.shape, columns);
    this.classes.set(columns, cache);
    return cache;
  }
}
