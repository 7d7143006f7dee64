import { normaliseTargets, type TargetBlock } from '../tokens/target.js';

/** Sums over the rows of a target block. */
export interface TargetSums {
  readonly rows: number;
  /** Entropy of the (k + 1)-way distribution of support and tail, nats. */
  readonly entropy: number;
  /** Probability off the support, floored. */
  readonly tailMass: number;
}

/** Measures a teacher's distributions by themselves. */
export function sumTargets(block: TargetBlock): TargetSums {
  const { logProbs_S, tail_R } = normaliseTargets(block);
  let entropy = 0;
  let tailMass = 0;
  for (const logProb of logProbs_S) entropy -= Math.exp(logProb) * logProb;
  for (const tail of tail_R) {
    entropy -= tail * Math.log(tail);
    tailMass += tail;
  }
  return { rows: tail_R.length, entropy, tailMass };
}
