const ROUNDS = 10;
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** The two key words, each a uint32. */
export type PhiloxKey = readonly [number, number];
/** The four counter words, each a uint32. */
export type PhiloxCounter = readonly [number, number, number, number];

/** Names one random number: a function of what is drawn, never of when. */
export interface Draw {
  /** Integer in [0, 2^53). */
  readonly seed: number;
  /** [0, 2^16). */
  readonly stage: number;
  /** [0, 2^31). */
  readonly step: number;
  /** [0, 2^31). */
  readonly sample: number;
  /** [0, 2^31), index of the completion token, 0 for the first. */
  readonly position: number;
}

/**
 * Philox4x32-10: four uint32 from a counter and a key, the same on every machine (Salmon et al. 2011, "Parallel random numbers: as easy as
 * 1, 2, 3"; constants of the Random123 library).
 */
export function philox4x32(key: PhiloxKey, counter: PhiloxCounter): PhiloxCounter {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The first output word as a multiple of 2^-24 in [0, 1): exact in float32 as well as in float64. */
export function philoxUniform(key: PhiloxKey, counter: PhiloxCounter): number {
  return (philox4x32(key, counter)[0] >>> 8) * 2 ** -24;
}

/** The words under which every engine draws: key = low and high half of the seed, counter = (position, sample, step, stage). */
export function drawWords(draw: Draw): { readonly key: PhiloxKey; readonly counter: PhiloxCounter } {
  return {
    key: [draw.seed >>> 0, Math.floor(draw.seed / 2 ** 32)],
    counter: [draw.position, draw.sample, draw.step, draw.stage],
  };
}

/** The uniform of one draw, in [0, 1). */
export function drawUniform(draw: Draw): number {
  const { key, counter } = drawWords(draw);
  return philoxUniform(key, counter);
}

// The product exceeds 2^53, so it is put together from 16-bit halves.
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const cross = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + (middle >>> 16) + (cross >>> 16)) >>> 0;
}
