import { randomBytes } from 'node:crypto';
import { base62 } from './base62.js';

const RANDOM_BYTES = 18;
const DIGITS = 24; // 142 bits: two ids never meet, and nobody guesses one

/** A new id such as `ftjob-3kTMd…`: the prefix, a hyphen, and 24 digits of base 62. Unique without asking anybody; it says nothing about its age. */
export function newId(prefix: string): string {
  return `${prefix}-${base62(randomBytes(RANDOM_BYTES), DIGITS)}`;
}
