import { drawWords, philox4x32, type Draw } from '../common/philox.js';

/** Tells the random streams of one run apart; never renumber: a resumed run would draw other numbers. */
export const STREAMS = { collect: 1, heldOut: 2, shuffle: 3, alignDraw: 4, alignRollout: 5, evaluate: 6, bootstrap: 7, unigram: 8 } as const;

/** A uniform multiple of 2^-53 in [0, 1). */
export function uniform53(draw: Draw): number {
  return integer53(draw) * 2 ** -53;
}

/** A uniform integer in [0, 2^53), as seeds for a teacher are. */
export function integer53(draw: Draw): number {
  const { key, counter } = drawWords(draw);
  const [high, low] = philox4x32(key, counter);
  return (high >>> 5) * 2 ** 26 + (low >>> 6);
}

/** A uniform integer in [0, size). */
export function below(size: number, draw: Draw): number {
  return Math.floor(uniform53(draw) * size);
}

/** The numbers 0 … size - 1 in an order that depends on (seed, stage, step) alone: Fisher and Yates. */
export function permutation(size: number, { seed, stage, step }: Pick<Draw, 'seed' | 'stage' | 'step'>): number[] {
  const order = Array.from({ length: size }, (_, index) => index);
  for (let last = size - 1; last > 0; last--) {
    const other = below(last + 1, { seed, stage, step, sample: last, position: 0 });
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

/** Endless passes over 0 … size - 1, each in its own order. */
export function* shuffledPasses(size: number, { seed, stage }: Pick<Draw, 'seed' | 'stage'>): Generator<number, never> {
  for (let pass = 0; ; pass++) yield* permutation(size, { seed, stage, step: pass });
}
