/** Positions of a prompt that are read in one run; longer prompts are read in chunks, which gives the same bits as one pass. */
export const CHUNK = 128;

/** New positions are padded to a multiple of this: one vector of the arithmetic's widest instruction set. */
const FRESH_STEP = 16;

/**
 * Where a sequence's positions lie in the arrays of a run. It is a function of that sequence alone, and only sequences of equal layout run
 * together: then sums over positions group the same numbers in the same order whoever runs beside it, and the bits of its answer are its own.
 */
export interface Layout {
  /** P: columns of held positions, padded on the right. */
  readonly past: number;
  /** S: columns of new positions, padded on the right. */
  readonly fresh: number;
}

/** The layout of `count` new positions after `held` ones. */
export function layoutOf(held: number, count: number): Layout {
  return { past: pastColumns(held), fresh: count === 1 ? 1 : Math.ceil(count / FRESH_STEP) * FRESH_STEP };
}

/** Columns that hold this many positions. */
export function pastColumns(held: number): number {
  return Math.ceil(held / CHUNK) * CHUNK;
}
