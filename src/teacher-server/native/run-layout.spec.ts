import { afterEach, expect, it } from 'vitest';
import { loadKernels } from '../../../kernels/binding/kernels.js';
import type { RunPart } from '../runtime.js';
import { LaneCaches } from './lane-caches.js';
import { PrefixCache } from './prefix-cache.js';
import { layRun, type RunLayout } from './run-layout.js';

const kernels = loadKernels();
const SHAPE = { layers: 1, width: 2 };
const POSITION_BYTES = 2 * 2 * SHAPE.width;

const open: { free(): void }[] = [];
afterEach(() => open.splice(0).forEach((one) => one.free()));

/** The layouts of runs of one part each, one after the other, each forgotten before the next. */
function layouts(parts: readonly RunPart[], mostBytes = 1 << 20): RunLayout[] {
  const caches = new LaneCaches(kernels, { ...SHAPE, maxLength: 512 });
  const prefixes = new PrefixCache(kernels, { ...SHAPE, mostBytes });
  open.push(caches, prefixes);
  return parts.map((part) => {
    const layout = layRun({ parts: [part], k: 1 }, caches, prefixes);
    for (const { ids_S, positions, place } of layout.prefixes) prefixes.keep(ids_S, positions, place);
    caches.forget(part.lane);
    return layout;
  });
}

/** The prompt is `count` ids from `from` on, the answer four more; the answer is scored. */
function scoring(lane: number, from: number, count: number): RunPart {
  const ids_S = Int32Array.from({ length: count + 4 }, (_, i) => (i < count ? from + i : 1000 + lane));
  return { lane, held: 0, ids_S, rows: Array.from({ length: 4 }, (_, i) => ({ at: count - 1 + i, label: ids_S[count + i] })), after: 'forget' };
}

it('computes of a prompt that is known its last token, of one that begins like it what goes beyond whole blocks', () => {
  const [first, second, longer, other] = layouts([scoring(0, 7, 40), scoring(1, 7, 40), scoring(2, 7, 70), scoring(3, 8, 40)]);
  expect(Array.from(first.positions_N)).toEqual(Array.from({ length: 44 }, (_, i) => i));
  expect(Array.from(first.rows_R)).toEqual([39, 40, 41, 42]);
  expect(Array.from(second.positions_N)).toEqual(Array.from({ length: 5 }, (_, i) => 39 + i));
  expect(Array.from(second.tokens_N)).toEqual([46, 1001, 1001, 1001, 1001]);
  expect(Array.from(second.rows_R)).toEqual([0, 1, 2, 3]);
  expect(second.cuSeqlens_S1).toEqual(Int32Array.of(0));
  expect(second.going).toHaveLength(1);
  expect(longer.positions_N[0]).toBe(32);
  expect(other.positions_N[0]).toBe(0);
});

it('computes at least the row whose distribution is wanted', () => {
  const [, second] = layouts([scoring(0, 7, 33), scoring(1, 7, 32)]);
  expect(second.positions_N[0]).toBe(16);
  expect(second.rows_R[0]).toBe(15);
});

it('forgets what was used longest ago when there is no more room, and keeps nothing that has none', () => {
  const two = 2 * 48 * POSITION_BYTES; // 39 each, in whole blocks
  const begins = layouts([scoring(0, 100, 40), scoring(1, 200, 40), scoring(2, 100, 40), scoring(3, 300, 40), scoring(4, 100, 40), scoring(5, 200, 40)], two).map(({ positions_N }) => positions_N[0]);
  expect(begins).toEqual([0, 0, 39, 0, 39, 0]);
  expect(layouts([scoring(0, 7, 40), scoring(1, 7, 40)], 48 * POSITION_BYTES - 1).map(({ positions_N }) => positions_N[0])).toEqual([0, 0]);
});

it('keeps the beginning of a beginning when the longer one goes', () => {
  const parts = [scoring(0, 7, 40), scoring(1, 7, 72), scoring(2, 7, 40), scoring(3, 300, 72), scoring(4, 7, 40)];
  expect(layouts(parts, (48 + 80) * POSITION_BYTES).map(({ positions_N }) => positions_N[0])).toEqual([0, 32, 39, 0, 39]);
});
