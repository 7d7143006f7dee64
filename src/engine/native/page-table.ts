import { PAGE_POSITIONS, cacheLength } from '../../../kernels/binding/kernels.js';
import type { SampleRequest } from '../engine.js';
import { Slots } from './slots.js';

/** How many slots there are, how many pages one of them can hold, and how many there are for all. */
export interface PageTableShape {
  readonly slots: number;
  readonly pagesASlot: number;
  readonly pages: number;
}

/**
 * The pages that a request needs at most: what different prompts fill, as many of them as there are slots, and what each slot has for itself, which is one page more
 * than what its prompt does not fill: two that wait for nobody may each compute the last page that they could have in common.
 */
export function pageTableShape(request: SampleRequest): PageTableShape {
  const slots = Slots.count(request);
  let [pagesASlot, own] = [0, 0];
  const filled = differentPrompts(request).map((prompt_T) => {
    const pages = pagesFor(positionsOf(request, prompt_T));
    const full = Math.floor((prompt_T.length - 1) / PAGE_POSITIONS);
    pagesASlot = Math.max(pagesASlot, pages);
    own = Math.max(own, pages - full + 1);
    return full;
  });
  const shared = filled.sort((a, b) => b - a).slice(0, slots).reduce((sum, pages) => sum + pages, 0);
  return { slots, pagesASlot, pages: Math.min(slots * pagesASlot, shared + slots * own) };
}

/** The prompts of a request, each once. */
export function differentPrompts({ prompts }: Pick<SampleRequest, 'prompts'>): Int32Array[] {
  return [...new Map(prompts.map(({ ids_T }) => [Buffer.from(ids_T.buffer, ids_T.byteOffset, ids_T.byteLength).toString('latin1'), ids_T])).values()];
}

/** Positions that a sequence may come to hold: the last id of a completion is drawn but never read back, so it needs no place. */
export function positionsOf({ sampling }: SampleRequest, prompt_T: Int32Array): number {
  return prompt_T.length + sampling.maxTokens - 1;
}

function pagesFor(positions: number): number {
  return cacheLength(positions) / PAGE_POSITIONS;
}

/** What a sequence that begins in a slot knows already, and how long it may become. */
export interface SlotBeginning {
  /** The slot whose first positions are its own, too. */
  readonly from: number;
  /** How many of them. */
  readonly positions: number;
  /** Positions to hold in all, more than `positions`. */
  readonly length: number;
}

/** A page whose first positions are to be copied before the other is written. */
export interface PageCopy {
  readonly from: number;
  readonly to: number;
}

/**
 * Which pages of the caches hold the positions of each slot (Kwon et al. 2023, section 4). Slots that begin alike have the pages in common that their beginning
 * fills; nobody writes there. A slot keeps its pages until another sequence begins in it, so that others can begin with them.
 */
export class PageTable {
  /** int32 [B, M]; entries behind a slot's last page are 0. */
  readonly pages_BM: Int32Array;
  private readonly held_B: Int32Array;
  /** How many slots hold each page. */
  private readonly holders_P: Int32Array;
  private readonly free: number[];

  constructor(private readonly shape: PageTableShape) {
    this.pages_BM = new Int32Array(shape.slots * shape.pagesASlot);
    this.held_B = new Int32Array(shape.slots);
    this.holders_P = new Int32Array(shape.pages);
    this.free = Array.from({ length: shape.pages }, (_, index) => shape.pages - 1 - index);
  }

  /** Gives a slot the pages of a sequence in exchange for those that it held. @returns what is to be copied at once, before any other sequence begins. */
  begin(slot: number, { from, positions, length }: SlotBeginning): PageCopy | undefined {
    const common = Math.floor(positions / PAGE_POSITIONS);
    const known = this.pagesOf(from).slice(0, common + 1);
    for (const page of known.subarray(0, common)) this.holders_P[page]++;
    this.release(slot);
    const own = this.pagesOf(slot);
    this.held_B[slot] = pagesFor(length);
    own.set(known.subarray(0, common));
    for (let place = common; place < this.held_B[slot]; place++) own[place] = this.take();
    return positions % PAGE_POSITIONS > 0 && known[common] !== own[common] ? { from: known[common], to: own[common] } : undefined;
  }

  private pagesOf(slot: number): Int32Array {
    return this.pages_BM.subarray(slot * this.shape.pagesASlot, (slot + 1) * this.shape.pagesASlot);
  }

  private release(slot: number): void {
    const own = this.pagesOf(slot);
    for (const page of own.subarray(0, this.held_B[slot])) if (--this.holders_P[page] === 0) this.free.push(page);
    own.fill(0);
  }

  private take(): number {
    const page = this.free.pop();
    if (page === undefined) throw new Error(`${this.shape.pages} pages are too few for ${this.shape.slots} slots`);
    this.holders_P[page] = 1;
    return page;
  }
}
