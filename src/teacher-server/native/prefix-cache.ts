import { PAGE_POSITIONS, cacheLength, type Kernels, type Tensor } from '../../../kernels/binding/kernels.js';
import { ELEMENT_BYTES } from '../../engine/native/arena.js';
import type { LanePlace } from './lane-caches.js';

/** Sizes of what is kept. */
export interface PrefixShape {
  readonly layers: number;
  /** W: columns of the keys of one position; values have as many. */
  readonly width: number;
  /** Most bytes of keys and values. */
  readonly mostBytes: number;
}

interface Prefix {
  /** One a position. */
  readonly ids: Int32Array;
  /** bf16 [2 layers, positions rounded up to whole pages, W]: keys and values of each layer in turn. */
  readonly tensor: Tensor;
  readonly bytes: number;
}

/**
 * The keys and values of how prompts begin: whoever begins alike, the samples of one prompt and their scores, need not compute them again. A beginning is known
 * as a whole, and by every number of whole pages. What was used longest ago goes first. Bits are those of computing them, since a row's depend on nothing beside it.
 */
export class PrefixCache {
  /** In order of use, by themselves. */
  private readonly prefixes = new Set<Prefix>();
  /** Who holds a beginning that may be asked for, by its ids. */
  private readonly beginnings = new Map<string, Set<Prefix>>();
  private bytes = 0;

  constructor(
    private readonly kernels: Kernels,
    private readonly shape: PrefixShape,
  ) {}

  /** Copies the longest known beginning of `ids_S`, of at most `most` positions, to the beginning of a lane. @returns how many positions it has. */
  restore(ids_S: Int32Array, most: number, place: LanePlace): number {
    for (let positions = most; positions > 0; positions = wholePages(positions - 1)) {
      const [prefix] = this.beginnings.get(keyOf(ids_S, positions)) ?? [];
      if (!prefix) continue;
      this.prefixes.delete(prefix);
      this.prefixes.add(prefix);
      this.copy(prefix, { positions, place, direction: 'to the lane' });
      return positions;
    }
    return 0;
  }

  /** Keeps the first positions of a lane that holds them, a page or more, unless they are known or there is no room for them. */
  keep(ids_S: Int32Array, positions: number, place: LanePlace): void {
    const elements = 2 * this.shape.layers * cacheLength(positions) * this.shape.width;
    const bytes = elements * ELEMENT_BYTES.bf16;
    if (positions < PAGE_POSITIONS || bytes > this.shape.mostBytes || this.beginnings.has(keyOf(ids_S, positions))) return;
    this.makeRoom(bytes);
    const prefix = { ids: ids_S.slice(0, positions), bytes, tensor: this.kernels.alloc('bf16', [elements]) };
    this.prefixes.add(prefix);
    for (const key of keysOf(prefix)) this.beginnings.set(key, (this.beginnings.get(key) ?? new Set()).add(prefix));
    this.bytes += bytes;
    this.copy(prefix, { positions, place, direction: 'from the lane' });
  }

  free(): void {
    for (const prefix of this.prefixes) this.forget(prefix);
  }

  private makeRoom(bytes: number): void {
    for (const prefix of this.prefixes) {
      if (this.bytes + bytes <= this.shape.mostBytes) return;
      this.forget(prefix);
    }
  }

  private forget(prefix: Prefix): void {
    this.prefixes.delete(prefix);
    for (const key of keysOf(prefix)) {
      const holders = this.beginnings.get(key);
      holders?.delete(prefix);
      if (holders?.size === 0) this.beginnings.delete(key);
    }
    this.kernels.free(prefix.tensor);
    this.bytes -= prefix.bytes;
  }

  private copy({ tensor, ids }: Prefix, { positions, place: { cache, slot }, direction }: Copy): void {
    const elements = cacheLength(positions) * this.shape.width;
    cache.layers.forEach(({ k, v }, layer) =>
      [k, v].forEach((lane, which) => {
        const kept = this.kernels.view(tensor, (2 * layer + which) * cacheLength(ids.length) * this.shape.width, [elements]);
        const held = this.kernels.view(lane, cache.offsetOf(slot), [elements]);
        if (direction === 'to the lane') this.kernels.convert(kept, held);
        else this.kernels.convert(held, kept);
        for (const view of [kept, held]) this.kernels.free(view);
      }),
    );
  }
}

interface Copy {
  readonly positions: number;
  readonly place: LanePlace;
  readonly direction: 'to the lane' | 'from the lane';
}

function wholePages(positions: number): number {
  return Math.floor(positions / PAGE_POSITIONS) * PAGE_POSITIONS;
}

function keyOf(ids_S: Int32Array, positions: number): string {
  return Buffer.from(ids_S.buffer, ids_S.byteOffset, positions * Int32Array.BYTES_PER_ELEMENT).toString('latin1');
}

function keysOf({ ids }: Prefix): string[] {
  const pages = Array.from({ length: Math.floor(ids.length / PAGE_POSITIONS) }, (_, page) => keyOf(ids, (page + 1) * PAGE_POSITIONS));
  return ids.length % PAGE_POSITIONS === 0 ? pages : [...pages, keyOf(ids, ids.length)];
}
