/** What one attempt measured and a chart may show: its first and last step in view. */
export interface Segment {
  readonly attempt: number;
  readonly first: number;
  readonly last: number;
}

/** Whether what a later attempt took again is drawn as well, each attempt as a line of its own, or one line holds what counts. */
export type Lines = 'one' | 'each-attempt';

/** Levels of rollups: a row sums up `2^level` steps. Level 0 is the points themselves. */
export type Level = 0 | 6 | 9 | 12;

/** Rows to read for a chart: those of one level and attempt within steps `lo` to `hi`, both included; at a level above 0 they begin and end with its rows. */
export interface ChartPart {
  /** What is never drawn together: 0, or the attempt. */
  readonly line: number;
  readonly attempt: number;
  readonly level: Level;
  readonly lo: number;
  readonly hi: number;
  /** Buckets hold `2^shift` steps and begin at multiples of that. */
  readonly shift: number;
  /** The bucket of all rows of the part, instead of that of their step. */
  readonly bucket?: number;
}

/** How one series is drawn. */
export interface ChartPlan {
  readonly level: Level;
  readonly parts: readonly ChartPart[];
}

/** The bucket of a line's first point, which is shown by itself wherever buckets hold several steps. */
const FIRST = -1;
/** The widest first. */
const LEVELS: readonly Level[] = [12, 9, 6, 0];
/** All steps in one bucket. */
const WIDEST = 31;
/** A line is two points at least: its first, and a bucket. */
const LINE_LEAST = 2;

/**
 * Buckets as wide as the smallest power of two that keeps within `maxPoints`, at fixed places: a chart that is asked for again while the run goes on keeps
 * its buckets, and one drawn from rollups equals one drawn from points. The level is the widest that fits into a bucket, so few rows are read for each.
 * @param segments by attempt; with `one` line they do not overlap. When there are more lines than `maxPoints` can hold, the newest are drawn.
 */
export function chartPlan(segments: readonly Segment[], lines: Lines, maxPoints: number): ChartPlan {
  const drawn = linesOf(segments, lines).slice(-Math.floor(maxPoints / LINE_LEAST));
  const shift = smallestShift(drawn, maxPoints);
  const level = widestLevel(shift);
  const parts = drawn.flatMap((line) => line.flatMap((segment, place) => segmentParts(segment, { line: lines === 'one' ? 0 : segment.attempt, shift, level, opens: place === 0 })));
  return { level, parts };
}

/** The widest that fits into buckets of `2^shift` steps. */
function widestLevel(shift: number): Level {
  return LEVELS.find((level) => level <= shift) ?? 0;
}

function linesOf(segments: readonly Segment[], lines: Lines): (readonly Segment[])[] {
  if (lines === 'each-attempt') return segments.map((segment) => [segment]);
  return segments.length === 0 ? [] : [segments];
}

function smallestShift(lines: readonly (readonly Segment[])[], maxPoints: number): number {
  for (let shift = 0; shift < WIDEST; shift++) if (pointsAt(lines, shift) <= maxPoints) return shift;
  return WIDEST;
}

function pointsAt(lines: readonly (readonly Segment[])[], shift: number): number {
  const own = shift === 0 ? 0 : 1;
  return lines.reduce((sum, line) => sum + (line[line.length - 1].last >> shift) - (line[0].first >> shift) + 1 + own, 0);
}

function segmentParts({ attempt, first, last }: Segment, { line, shift, level, opens }: { line: number; shift: number; level: Level; opens: boolean }): ChartPart[] {
  const alike = { line, attempt, shift };
  if (!opens || shift === 0) return cut(first, last, level).map((range) => ({ ...alike, ...range }));
  return [{ ...alike, level: 0, lo: first, hi: first, bucket: FIRST }, ...cut(first + 1, last, level).map((range) => ({ ...alike, ...range }))];
}

type Range = Pick<ChartPart, 'level' | 'lo' | 'hi'>;

/** The whole rows of a level between two steps, and at both ends what finer levels hold. */
function cut(lo: number, hi: number, level: Level): Range[] {
  if (lo > hi) return [];
  if (level === 0) return [{ level, lo, hi }];
  const width = 2 ** level;
  const begin = Math.ceil(lo / width) * width;
  const end = Math.floor((hi + 1) / width) * width - 1;
  const finer = widestLevel(level - 1);
  if (begin > end) return cut(lo, hi, finer);
  return [...cut(lo, begin - 1, finer), { level, lo: begin, hi: end }, ...cut(end + 1, hi, finer)];
}
