import type { TargetBlock } from '../../tokens/target.js';
import { TeacherAnswerInvalid } from '../teacher-client.js';

/** One of a position's ids with its log-prob, as the teacher sent it. */
export interface Entry {
  readonly id: number;
  readonly logProb: number;
  /** 1 for the best of the vocabulary, where the teacher says it. */
  readonly rank?: number;
}

/** One position of an answer: what was sent, and which id is the actual one. */
export interface SentRow {
  /** In any order; the actual id among them. */
  readonly entries: readonly Entry[];
  readonly actualId: number;
  /** Names the position in error messages. */
  readonly where: string;
}

/** vLLM sends this for the log of 0. */
const SENT_LOG_ZERO = -9999;
/** What stands for the log of 0 in a target: as good as no probability, yet harmless in a mean. */
const LOG_ZERO = -100;
/** Rounding may lift a log-prob above 0, and a mass above 1, by as much. */
const MOST_LOG_PROB = 1e-4;
const MOST_MASS = 1.001;
/** Padded rows of a head are ids that a model all but never gives; a teacher that gives them more has another vocabulary. */
const MOST_PADDED_MASS = 1e-3;

/** Checks positions of one answer as they are added, and lays them out as a target. */
export class TargetRows {
  private readonly offsets = [0];
  private readonly ids: number[] = [];
  private readonly logProbs: number[] = [];
  private readonly tails: number[] = [];
  private readonly actual: number[] = [];

  constructor(private readonly asked: { readonly k: number; readonly vocabSize: number }) {}

  /** @throws TeacherAnswerInvalid naming the position and the broken rule. */
  add(row: SentRow): void {
    const { best, actual } = this.check(row);
    const support = best.filter((entry) => entry === actual || (entry.id < this.asked.vocabSize && entry.logProb > LOG_ZERO));
    if (!support.includes(actual)) support.push(actual);
    let mass = 0;
    for (const { id, logProb } of support) {
      this.ids.push(id);
      this.logProbs.push(Math.min(0, logProb));
      mass += Math.exp(logProb);
    }
    this.actual.push(Math.min(0, actual.logProb));
    this.offsets.push(this.ids.length);
    this.tails.push(Math.min(1, Math.max(0, 1 - mass)));
  }

  block(index: number): TargetBlock {
    return {
      index,
      offsets_R1: Int32Array.from(this.offsets),
      ids_S: Int32Array.from(this.ids),
      logProbs_S: Float32Array.from(this.logProbs),
      tail_R: Float32Array.from(this.tails),
      actualLogProbs_R: Float32Array.from(this.actual),
    };
  }

  /** @returns the best ids in order, and the actual one, which stands outside them when the teacher sent it on top. */
  private check({ entries, actualId, where }: SentRow): { readonly best: readonly Entry[]; readonly actual: Entry } {
    const { k, vocabSize } = this.asked;
    const checked = entries.map((entry) => checkedEntry(entry, where));
    const mass = checked.reduce((sum, { logProb }) => sum + Math.exp(logProb), 0);
    if (mass > MOST_MASS) invalid(where, `its probabilities sum to ${mass}, above 1`);
    const actual = checked.find(({ id }) => id === actualId);
    if (!actual) return invalid(where, `the actual id ${actualId} is not among the ${entries.length} sent`);
    if (actualId >= vocabSize) invalid(where, `its id ${actualId} is outside the vocabulary of ${vocabSize} ids`);
    const padded = checked.reduce((sum, { id, logProb }) => sum + (id < vocabSize ? 0 : Math.exp(logProb)), 0);
    if (padded > MOST_PADDED_MASS) invalid(where, `ids outside the vocabulary of ${vocabSize} have a probability of ${padded} together; padded rows of a head have next to none`);
    if (checked.length < Math.min(k, vocabSize) || checked.length > k + 1) invalid(where, `it holds ${checked.length} ids where ${k} were asked for, or one more for the actual id`);
    const ordered = checked.sort((a, b) => b.logProb - a.logProb || a.id - b.id);
    const best = ordered.filter((entry) => entry !== actual);
    if (ordered.length <= k) {
      if (actual.rank !== undefined && actual.rank > k && !best.some(({ logProb }) => logProb === actual.logProb)) {
        invalid(where, `it holds ${k} ids, but the actual id ${actualId} ranks ${actual.rank}th: one of the best was lost to it`);
      }
      return { best: ordered, actual };
    }
    const last = best[k - 1].logProb;
    if (actual.logProb > last) invalid(where, `the actual id ${actualId} has log-prob ${actual.logProb}, above the last of the best, ${last}, but was sent on top of them`);
    return { best, actual };
  }
}

function checkedEntry({ id, logProb, rank }: Entry, where: string): Entry {
  if (!Number.isInteger(id) || id < 0) invalid(where, `${id} is not a token id`);
  if (!(logProb <= MOST_LOG_PROB)) invalid(where, `id ${id} has log-prob ${logProb}, which is above 0; serve with --logprobs-mode raw_logprobs`);
  return { id, rank, logProb: logProb <= SENT_LOG_ZERO ? LOG_ZERO : logProb };
}

function invalid(where: string, what: string): never {
  throw new TeacherAnswerInvalid(`${where}: ${what}; nothing of the answer was used`);
}
