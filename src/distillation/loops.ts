import type { TokenIds } from '../tokens/sample.js';

/** Longest n-gram whose repetition counts. */
const LONGEST = 8;
/** Copies in a row that make a loop. */
const COPIES = 4;

/**
 * Whether some n-gram of at most 8 ids stands 4 times in a row anywhere. An n-gram that fills the last 32 ids does so too: 32 = 4 x 8.
 */
export function isLooping(ids_T: TokenIds): boolean {
  for (let n = 1; n <= LONGEST; n++) {
    let equal = 0;
    for (let t = n; t < ids_T.length; t++) {
      equal = ids_T[t] === ids_T[t - n] ? equal + 1 : 0;
      if (equal >= n * (COPIES - 1)) return true;
    }
  }
  return false;
}
