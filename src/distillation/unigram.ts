import { drawUniform } from '../common/philox.js';
import type { TokenIds } from '../tokens/sample.js';
import { normaliseTargets, TAIL_FLOOR, type TargetBlock } from '../tokens/target.js';
import { judgeRollout, NO_TEXT, type Bench } from './evaluation.js';
import type { EvaluationRecord, PromptRecord } from './evaluation-record.js';
import { tokensOf } from './packing.js';
import { STREAMS } from './random.js';
import { scoreSamples, type Rollout } from './rollouts.js';
import { sumTargets } from './target-sums.js';

/** The control that knows only how often the teacher uses each id. */
export class Unigram {
  readonly #probs_V: Float64Array;
  readonly #cumulative_V: Float64Array;
  readonly #entropyNats: number;
  readonly #best: number;

  /** Counts of the completions' ids plus one for each of the V ids (Laplace). */
  constructor(completions: Iterable<TokenIds>, vocabSize: number) {
    const counts = new Float64Array(vocabSize).fill(1);
    let total = vocabSize;
    for (const ids_T of completions) {
      for (const id of ids_T) counts[id]++;
      total += ids_T.length;
    }
    this.#probs_V = counts.map((count) => count / total);
    let passed = 0;
    this.#cumulative_V = this.#probs_V.map((prob) => (passed += prob));
    this.#entropyNats = -this.#probs_V.reduce((sum, prob) => sum + prob * Math.log(prob), 0);
    this.#best = this.#probs_V.indexOf(this.#probs_V.reduce((most, prob) => Math.max(most, prob), 0));
  }

  /** Natural log of an id's probability. */
  logProb(id: number): number {
    return Math.log(this.#probs_V[id]);
  }

  /** The id where the cumulative probability, in id order, passes `uniform` of [0, 1). */
  draw(uniform: number): number {
    let low = 0;
    let high = this.#cumulative_V.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#cumulative_V[middle] > uniform) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Sums over the rows of a target block, as an engine would measure them. */
  compare(block: TargetBlock): PromptRecord['text'] {
    const { logProbs_S, tail_R } = normaliseTargets(block);
    const text = { rows: tail_R.length, forward_kl: 0, agreement: 0, student_entropy: tail_R.length * this.#entropyNats, teacher_entropy: sumTargets(block).entropy, tail_mass: 0 };
    for (let row = 0; row < tail_R.length; row++) {
      const [begin, end] = [block.offsets_R1[row], block.offsets_R1[row + 1]];
      let mass = 0;
      for (let s = begin; s < end; s++) {
        const teacher = Math.exp(logProbs_S[s]);
        mass += this.#probs_V[block.ids_S[s]];
        text.forward_kl += teacher * (logProbs_S[s] - this.logProb(block.ids_S[s]));
      }
      const tail = Math.max(1 - mass, TAIL_FLOOR);
      text.forward_kl += tail_R[row] * (Math.log(tail_R[row]) - Math.log(tail));
      text.tail_mass += 1 - mass;
      text.agreement += Number(bestId(block, row) === this.#best);
    }
    return text;
  }
}

/** Measures the unigram distribution of the teacher's training text on the bench, its rollouts drawn id by id and scored by the teacher. */
export async function evaluateUnigram(unigram: Unigram, bench: Bench, signal?: AbortSignal): Promise<EvaluationRecord> {
  const began = bench.clock();
  const rollouts = bench.prompts.map(({ ids_T }, sample) => writeRollout(unigram, bench, { prompt_T: ids_T, sample }));
  const blocks = await scoreSamples(bench.teacher, { samples: rollouts, k: bench.k }, signal);
  const texts = new Map(bench.teacherText.map(({ origin, targets }) => [origin, unigram.compare(targets)]));
  const prompts = rollouts.map((rollout, index) => ({
    text: texts.get(index) ?? NO_TEXT,
    rollouts: [judgeRollout(bench, { ...rollout, targets: blocks[index] }, bench.prompts[index].answer)],
  }));
  const tokens = rollouts.reduce((sum, sample) => sum + tokensOf(sample), 0);
  return { label: 'unigram', prompts, account: { seconds: (bench.clock() - began) / 1000, tokens, teacher_calls: rollouts.length } };
}

function writeRollout(unigram: Unigram, { maxTokens, stopIds, seed }: Bench, { prompt_T, sample }: { prompt_T: TokenIds; sample: number }): Rollout {
  const ids: number[] = [];
  while (ids.length < maxTokens && !stopIds.includes(ids[ids.length - 1])) {
    ids.push(unigram.draw(drawUniform({ seed, stage: STREAMS.unigram, step: 0, sample, position: ids.length })));
  }
  return {
    prompt_T,
    completion_T: Int32Array.from(ids),
    logProbs_T: Float32Array.from(ids, (id) => unigram.logProb(id)),
    finish: stopIds.includes(ids[ids.length - 1]) ? 'stop' : 'length',
  };
}

function bestId({ ids_S, logProbs_S, offsets_R1 }: TargetBlock, row: number): number {
  let best = offsets_R1[row];
  for (let s = best + 1; s < offsets_R1[row + 1]; s++) if (logProbs_S[s] > logProbs_S[best]) best = s;
  return ids_S[best];
}
