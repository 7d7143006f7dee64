import { describe, expect, it, test } from 'vitest';
import { PAGE_POSITIONS } from '../../../kernels/binding/kernels.js';
import type { SampleRequest } from '../engine.js';
import { differentPrompts, PageTable, pageTableShape, positionsOf } from './page-table.js';
import { Slots } from './slots.js';

const request = (prompts: readonly (readonly number[])[], maxTokens: number): SampleRequest => ({
  prompts: prompts.map((ids, sample) => ({ ids_T: Int32Array.from(ids), sample })),
  sampling: { temperature: 1, topP: 1, topK: 0, maxTokens, stopIds: [1] },
  key: { seed: 1, stage: 1, step: 1 },
});
const rowsOf = ({ pages_BM }: PageTable, pagesASlot: number): number[][] =>
  Array.from({ length: pages_BM.length / pagesASlot }, (_, slot) => [...pages_BM.subarray(slot * pagesASlot, (slot + 1) * pagesASlot)]);

describe('PageTable', () => {
  it('gives slots that begin alike the pages in common that their beginning fills', () => {
    const table = new PageTable({ slots: 3, pagesASlot: 4, pages: 8 });
    expect(table.begin(0, { from: 0, positions: 0, length: 50 })).toBeUndefined();
    expect(table.begin(1, { from: 0, positions: 32, length: 60 })).toBeUndefined(); // two full pages, nothing to copy
    expect(table.begin(2, { from: 0, positions: 20, length: 30 })).toEqual({ from: 1, to: 6 }); // four positions of the second
    expect(rowsOf(table, 4)).toEqual([[0, 1, 2, 3], [0, 1, 4, 5], [0, 6, 0, 0]]);
  });

  it('takes pages back when nobody holds them any more', () => {
    const table = new PageTable({ slots: 2, pagesASlot: 3, pages: 5 });
    table.begin(0, { from: 0, positions: 0, length: 48 });
    table.begin(1, { from: 0, positions: 32, length: 40 }); // 0, 1 of the first, and 3
    table.begin(0, { from: 0, positions: 0, length: 32 }); // gives 2 back, and takes it and the last one
    expect(rowsOf(table, 3)).toEqual([[2, 4, 0], [0, 1, 3]]);
    table.begin(1, { from: 1, positions: 0, length: 48 });
    expect(new Set(rowsOf(table, 3)[1])).toEqual(new Set([0, 1, 3]));
  });

  it('lets a slot go on with what it holds itself', () => {
    const table = new PageTable({ slots: 1, pagesASlot: 3, pages: 3 });
    table.begin(0, { from: 0, positions: 0, length: 40 });
    expect(table.begin(0, { from: 0, positions: 20, length: 48 })).toEqual({ from: 1, to: 2 }); // what is copied away is the last page then
    expect(rowsOf(table, 3)).toEqual([[0, 2, 1]]);
    table.begin(0, { from: 0, positions: 16, length: 30 });
    const [[, own]] = rowsOf(table, 3);
    expect(table.begin(0, { from: 0, positions: 20, length: 32 })).toBeUndefined(); // it gets its page back, content and all
    expect(rowsOf(table, 3)).toEqual([[0, own, 0]]);
  });
});

test('a request needs pages for what different prompts fill, and for what each slot has for itself', () => {
  const long = (first: number): number[] => [first, ...new Array<number>(99).fill(7)];
  // 100 + 20 - 1 positions are 8 pages; 6 of them the prompt fills, and a slot has 3 for itself.
  expect(pageTableShape(request(new Array<number[]>(8).fill(long(2)), 20))).toEqual({ slots: 8, pagesASlot: 8, pages: 6 + 8 * 3 });
  expect(pageTableShape(request([2, 2, 2, 3, 3, 3].map(long), 20))).toEqual({ slots: 6, pagesASlot: 8, pages: 12 + 6 * 3 });
  expect(pageTableShape(request([2, 3, 4].map(long), 20))).toEqual({ slots: 3, pagesASlot: 8, pages: 24 }); // no more than one by one
  expect(pageTableShape(request(new Array<number[]>(64).fill([5]), 1))).toEqual({ slots: 32, pagesASlot: 1, pages: 32 });
  expect(differentPrompts(request([[2, 3], [2], [2, 3]], 1))).toEqual([Int32Array.of(2, 3), Int32Array.of(2)]);
});

/** What the caches would hold if they were ids, and who may write where. */
class ModelCaches {
  private readonly table: PageTable;
  private readonly ids: Int32Array;
  private readonly pagesASlot: number;

  constructor(private readonly asked: SampleRequest) {
    const shape = pageTableShape(asked);
    this.table = new PageTable(shape);
    this.pagesASlot = shape.pagesASlot;
    this.ids = new Int32Array(shape.pages * PAGE_POSITIONS).fill(-1);
  }

  begin(slot: number, prompt_T: Int32Array, { from, positions }: { from: number; positions: number }): void {
    const copy = this.table.begin(slot, { from, positions, length: positionsOf(this.asked, prompt_T) });
    if (copy) this.ids.copyWithin(copy.to * PAGE_POSITIONS, copy.from * PAGE_POSITIONS, (copy.from + 1) * PAGE_POSITIONS);
  }

  write(slot: number, position: number, id: number): void {
    this.ids[this.at(slot, position)] = id;
  }

  read(slot: number, length: number): number[] {
    return Array.from({ length }, (_, position) => this.ids[this.at(slot, position)]);
  }

  private at(slot: number, position: number): number {
    return this.table.pages_BM[slot * this.pagesASlot + Math.floor(position / PAGE_POSITIONS)] * PAGE_POSITIONS + (position % PAGE_POSITIONS);
  }
}

test.each(Array.from({ length: 40 }, (_, seed) => seed))('every sequence reads what it wrote, whoever begins alike, and pages suffice: %d', (seed) => {
  let state = seed + 1;
  const below = (limit: number): number => (state = (state * 48271) % 2147483647) % limit;
  const stems = Array.from({ length: 1 + below(6) }, () => Array.from({ length: 1 + below(90) }, () => 2 + below(2)));
  const prompts = Array.from({ length: 1 + below(90) }, () => [...stems[below(stems.length)], ...Array.from({ length: below(3) === 0 ? below(40) : 0 }, () => 2 + below(2))]);
  const asked = request(prompts, 1 + below(40));
  const slots = new Slots(asked);
  const caches = new ModelCaches(asked);
  const wrote = new Map<number, number[]>();
  let ended = 0;
  for (let begun = slots.admit(200); slots.active().length > 0; begun = slots.admit(200)) {
    const news = new Map(begun.map(({ running, positions }) => [running, positions]));
    for (const { running, from, positions } of begun) caches.begin(running.slot, asked.prompts[running.index].ids_T, { from, positions });
    for (const running of slots.active()) {
      const prompt = prompts[running.index];
      const first = news.get(running);
      const all = first === undefined ? [...(wrote.get(running.index) ?? []), running.ids.at(-1) ?? -1] : [...prompt];
      for (let position = first ?? all.length - 1; position < all.length; position++) caches.write(running.slot, position, all[position]);
      wrote.set(running.index, all);
    }
    for (const running of slots.active()) expect(caches.read(running.slot, wrote.get(running.index)?.length ?? 0)).toEqual(wrote.get(running.index));
    for (const running of slots.active()) if (slots.append(running, below(8) === 0 ? 1 : 4 + below(3), -1)) ended++;
  }
  expect(ended).toBe(prompts.length);
});
