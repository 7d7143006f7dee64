/** What the reference says at one position of a teacher-forced sequence. */
export interface ReferencePosition {
  /** Log-prob of the id that follows, nats. */
  readonly actualLogProb: number;
  /** The most probable id. */
  readonly greedyId: number;
  /** How far its logit lies above the second best's, >= 0. */
  readonly greedyGap: number;
}

/** What the candidate says there, after the same ids. */
export interface CandidatePosition {
  readonly actualLogProb: number;
  readonly greedyId: number;
}

export interface Agreement {
  readonly positions: number;
  /** Mean and largest |candidate - reference| of the actual ids' log-probs, nats. */
  readonly meanAbs: number;
  readonly maxAbs: number;
  /** Positions whose most probable ids differ, and those of them where the reference was too sure for that. */
  readonly greedyDifferences: number;
  readonly forbiddenDifferences: number;
  readonly agrees: boolean;
}

/** Sequences and ids of each that the rule is applied to. */
export const AGREEMENT_SEQUENCES = 5;
export const AGREEMENT_TOKENS = 32;

const MOST_MEAN = 0.02;
const MOST = 0.2;
/** Below this gap of the reference's two best logits, rounding alone may swap them. */
const SURE_GAP = 0.1;

/**
 * Whether a candidate (bf16, or another program) computes the same model as the reference (float32): mean |difference of log-prob| <= 0.02, largest <= 0.2, and
 * another greedy id only where the reference's two best logits are closer than 0.1. Both see the reference's ids, so that one difference does not cause the next.
 * @param reference positions of all sequences, one after the other; `candidate` the same ones. Values that are not finite never agree.
 */
export function judgeAgreement(reference: readonly ReferencePosition[], candidate: readonly CandidatePosition[]): Agreement {
  const positions = reference.length;
  const differences = reference.map(({ actualLogProb }, i) => Math.abs((candidate[i]?.actualLogProb ?? Number.NaN) - actualLogProb));
  const meanAbs = differences.reduce((sum, difference) => sum + difference, 0) / positions;
  const maxAbs = differences.reduce((most, difference) => (difference <= most ? most : difference), 0);
  const swapped = reference.filter(({ greedyId }, i) => candidate[i]?.greedyId !== greedyId);
  const forbiddenDifferences = swapped.filter(({ greedyGap }) => !(greedyGap < SURE_GAP)).length;
  const agrees = positions > 0 && candidate.length === positions && meanAbs <= MOST_MEAN && maxAbs <= MOST && forbiddenDifferences === 0;
  return { positions, meanAbs, maxAbs, greedyDifferences: swapped.length, forbiddenDifferences, agrees };
}
