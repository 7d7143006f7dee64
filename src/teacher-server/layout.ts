import type { Padding } from './runtime.js';

/** Where a sequence's positions lie in the arrays of a run. */
export interface Layout {
  /** P: columns of held positions, padded on the right. */
  readonly past: number;
  /** S: columns of new positions, padded on the right; a single one stands alone. */
  readonly fresh: number;
}

/** The layout of `count` new positions after `held` ones. */
export function layoutOf({ past, fresh }: Padding, held: number, count: number): Layout {
  return { past: paddedTo(past, held), fresh: count === 1 ? 1 : paddedTo(fresh, count) };
}

/** `count`, rounded up to a multiple of `step`. */
export function paddedTo(step: number, count: number): number {
  return Math.ceil(count / step) * step;
}
