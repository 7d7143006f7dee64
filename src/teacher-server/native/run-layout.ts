import { PAGE_POSITIONS } from '../../../kernels/binding/kernels.js';
import type { RunPart, TeacherRun } from '../runtime.js';
import type { CacheClass, LaneCaches, LanePlace } from './lane-caches.js';
import type { PrefixCache } from './prefix-cache.js';

/** Rows of a run, one behind the other, whose keys and values lie in one class of caches. */
export interface Segment {
  readonly begin: number;
  readonly end: number;
  readonly cache: CacheClass;
  /** Of each row: its lane's slot, and its position in the lane. */
  readonly slots_N: Int32Array;
  readonly positions_N: Int32Array;
}

/** A prompt's beginning that is worth keeping once the run has computed it. */
export interface NewPrefix {
  readonly ids_S: Int32Array;
  readonly positions: number;
  readonly place: LanePlace;
}

/** The rows of a run laid end to end: first the parts that begin their lanes, then those that go on; in each, parts of one class of caches side by side. */
export interface RunLayout {
  readonly tokens_N: Int32Array;
  readonly positions_N: Int32Array;
  /** Of the parts that begin. */
  readonly cuSeqlens_S1: Int32Array;
  /** Rows that begin and are kept; they attend by `cuSeqlens_S1`. */
  readonly kept: readonly Segment[];
  /** Rows that go on; they attend to what their caches hold. */
  readonly going: readonly Segment[];
  /** Of the rows asked for, in the order asked. */
  readonly rows_R: Int32Array;
  readonly prefixes: readonly NewPrefix[];
}

interface Placed {
  readonly part: RunPart;
  readonly index: number;
  /** Absent for a part that is read in one go and forgotten, without a whole block before its first row. */
  readonly place?: LanePlace;
  /** How many of the part's positions the lane holds already, since another began alike. */
  readonly known: number;
}

/** Lays a run out and makes room for what it leaves behind. @throws RuntimeFailed when a lane does not hold what it should. */
export function layRun({ parts }: TeacherRun, caches: LaneCaches, known: PrefixCache): RunLayout {
  const placed = parts.map((part, index): Placed => {
    const isHeld = part.held > 0 || part.after !== 'forget' || unseen(part) >= PAGE_POSITIONS;
    const place = isHeld ? caches.extend(part.lane, part.held, part.ids_S.length) : undefined;
    return { part, index, place, known: place && part.held === 0 ? known.restore(part.ids_S, unseen(part), place) : 0 };
  });
  const begins = inClasses(placed.filter(isBeginning));
  const goes = inClasses(placed.filter((one) => !isBeginning(one)));
  const rows = new RowPlan([...begins, ...goes]);
  return {
    tokens_N: rows.tokens_N,
    positions_N: rows.positions_N,
    cuSeqlens_S1: Int32Array.from([0, ...begins.map(({ index, part }) => rows.beginOf(index) + part.ids_S.length)]),
    kept: rows.segments(begins),
    going: rows.segments(goes),
    rows_R: Int32Array.from(placed.flatMap(({ part, index, known }) => part.rows.map(({ at }) => rows.beginOf(index) + at - known))),
    prefixes: placed.flatMap(({ part, place }) => (place && part.held === 0 ? [{ ids_S: part.ids_S, positions: unseen(part), place }] : [])),
  };
}

function isBeginning({ part, known }: Placed): boolean {
  return part.held + known === 0;
}

/** How many of a part's ids come before the first whose distribution is wanted, and need not be computed if their keys and values are known. */
function unseen({ rows, ids_S }: RunPart): number {
  return rows.length > 0 ? rows[0].at : ids_S.length - 1;
}

/** Side by side what lies in one class; what lies in none comes first. The order within a class is that of the run. */
function inClasses(placed: readonly Placed[]): Placed[] {
  const columns = ({ place }: Placed): number => place?.cache.columns ?? 0;
  return [...placed].sort((a, b) => columns(a) - columns(b) || a.index - b.index);
}

class RowPlan {
  readonly tokens_N: Int32Array;
  readonly positions_N: Int32Array;
  private readonly begins = new Map<number, number>();

  constructor(order: readonly Placed[]) {
    const count = order.reduce((sum, { part, known }) => sum + part.ids_S.length - known, 0);
    this.tokens_N = new Int32Array(count);
    this.positions_N = new Int32Array(count);
    let row = 0;
    for (const { part, index, known } of order) {
      this.begins.set(index, row);
      this.tokens_N.set(part.ids_S.subarray(known), row);
      for (let s = known; s < part.ids_S.length; s++) this.positions_N[row++] = part.held + s;
    }
  }

  /** The first row of part `index` of the run. */
  beginOf(index: number): number {
    return this.begins.get(index) ?? 0;
  }

  segments(ordered: readonly Placed[]): Segment[] {
    const groups = new Map<CacheClass, (Placed & { readonly place: LanePlace })[]>();
    for (const one of ordered) {
      if (!one.place) continue;
      const group = groups.get(one.place.cache) ?? [];
      group.push({ ...one, place: one.place });
      groups.set(one.place.cache, group);
    }
    return [...groups].map(([cache, group]) => {
      const begin = this.beginOf(group[0].index);
      const slots_N = Int32Array.from(group.flatMap(({ part, place, known }) => new Array<number>(part.ids_S.length - known).fill(place.slot)));
      const end = begin + slots_N.length;
      return { begin, end, cache, slots_N, positions_N: this.positions_N.slice(begin, end) };
    });
  }
}
