import type { RopeScaling } from '../config.js';
import { GgufInvalid } from '../errors.js';
import { rotationFrequencies, type RotaryShape } from '../rotary.js';

/** The tensor in which llama.cpp keeps Llama 3's scaling: by what each pair's frequency is divided (conversion/llama.py, `generate_extra_tensors`). */
export const ROPE_FACTORS = 'rope_freqs.weight';

/** What all Llama 3.1 to 3.3 were published with, beside `factor`. */
const PUBLISHED = { lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 };
/** Relative; the converter computes frequencies in float32. */
const TOLERANCE = 2e-5;

/**
 * The four numbers of a Llama 3 scaling from the divisors of all K/2 frequencies. Only the quotients of originalMaxPositions and the two frequency factors decide them, so other
 * numbers than Llama 3's own are given with a lowFreqFactor of 1. Divisors that are all 1 are no scaling: null.
 * @throws GgufInvalid when no such numbers give these divisors.
 */
export function ropeScaling(divisors: Float32Array, shape: RotaryShape, where: string): RopeScaling | null {
  const factor = divisors.reduce((most, divisor) => Math.max(most, divisor), 1);
  if (divisors.every((divisor) => divisor === 1)) return null;
  const found = [{ factor, ...PUBLISHED }, ...fitted(divisors, factor, shape)].find((scaling) => gives(scaling, divisors, shape));
  if (found === undefined) throw new GgufInvalid(`${where}: ${ROPE_FACTORS} is not what a rope_type of "llama3" gives for any numbers; only that scaling of positions is read`);
  return found;
}

/** Between the two limits a pair's kept share is linear in its frequency: a line through the fastest and the slowest such pair. */
function fitted(divisors: Float32Array, factor: number, shape: RotaryShape): RopeScaling[] {
  const frequencies = rotationFrequencies({ ...shape, ropeScaling: null });
  const kept = Array.from(divisors, (divisor) => (1 / divisor - 1 / factor) / (1 - 1 / factor));
  const first = kept.findIndex((share) => share > 0 && share < 1);
  const last = kept.findLastIndex((share) => share > 0 && share < 1);
  if (first === last) return [];
  const slope = (kept[first] - kept[last]) / (frequencies[first] - frequencies[last]);
  const atZero = kept[first] - slope * frequencies[first]; // -low / (high - low)
  const highFreqFactor = Number((1 - 1 / atZero).toPrecision(4));
  const originalMaxPositions = Math.round(slope * 2 * Math.PI * (highFreqFactor - 1));
  const isSound = highFreqFactor > 1 && originalMaxPositions >= 1 && originalMaxPositions < 2 ** 31;
  return isSound ? [{ factor, lowFreqFactor: 1, highFreqFactor, originalMaxPositions }] : [];
}

function gives(scaling: RopeScaling, divisors: Float32Array, shape: RotaryShape): boolean {
  const whole = rotationFrequencies({ ...shape, ropeScaling: null });
  return rotationFrequencies({ ...shape, ropeScaling: scaling }).every((frequency, i) => Math.abs((frequency / whole[i]) * divisors[i] - 1) <= TOLERANCE);
}
