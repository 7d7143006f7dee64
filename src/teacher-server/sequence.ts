import { drawUniform } from '../common/philox.js';
import type { Finish, Sampling, TokenIds } from '../tokens/sample.js';
import { chooseId, drawNeeds, logProb, type DrawNeeds, type RowView } from './choice.js';
import { layoutOf, type Layout } from './layout.js';
import type { Draw, RowAsk, RunPart, RunRules } from './runtime.js';

/** Rows that return more ids than this run apart from the others, since every row of a run returns as many. */
const NARROW_K = 256;

/** What a sequence needs to know of what runs it. */
export interface SequenceHost {
  readonly vocabSize: number;
  readonly rules: RunRules;
}

/** One completion of one prompt, asked for. */
export interface SequenceAsk {
  readonly prompt_T: TokenIds;
  readonly sampling: Sampling;
  /** Names the draws: a function of the request alone. */
  readonly key: { readonly seed: number; readonly prompt: number; readonly sample: number };
  /** Best ids wanted at each generated position; undefined for no log-probs. */
  readonly logprobs: number | undefined;
  /** Best ids wanted at each prompt position from `scoredFrom` on; undefined for no log-probs. */
  readonly promptLogprobs: number | undefined;
  /** >= 1: nothing predicts position 0. */
  readonly scoredFrom: number;
}

/** The distribution at one position: the actual id and the best k. Log-probs are natural, at temperature 1 over the whole vocabulary. */
export interface PositionScore {
  readonly id: number;
  readonly logProb: number;
  /** How many ids of the vocabulary are at least as probable, itself included; undefined for a generated id. */
  readonly rank?: number;
  readonly topIds_K: Int32Array;
  readonly topLogProbs_K: Float32Array;
}

/** A finished completion. */
export interface SequenceAnswer {
  /** Scores of `prompt_T[scoredFrom] …`, empty when not asked for. */
  readonly promptScores: readonly PositionScore[];
  /** Ends with the stop id when `finish` is `stop`. */
  readonly completion: readonly number[];
  /** A score for each id of `completion`, empty when not asked for. */
  readonly scores: readonly PositionScore[];
  readonly finish: Finish;
}

/** A sequence on its way: knows what it needs of the next run and takes in what that run gave. */
export class Sequence {
  private held = 0;
  private readonly completion: number[] = [];
  private readonly promptScores: PositionScore[] = [];
  private readonly scores: PositionScore[] = [];
  private finish: Finish | undefined;

  /** @param lane names its keys and values in the runtime. */
  constructor(
    readonly ask: SequenceAsk,
    readonly lane: number,
    private readonly host: SequenceHost,
  ) {}

  /** Its whole answer comes with the last prompt position, so that it never decodes. */
  get isScoring(): boolean {
    return this.ask.sampling.maxTokens === 1;
  }

  /** The prompt has been read to its end. */
  get isDecoding(): boolean {
    return this.completion.length > 0;
  }

  /** Present once the sequence is done. */
  get answer(): SequenceAnswer | undefined {
    const { promptScores, completion, scores, finish } = this;
    return finish && { promptScores, completion, scores, finish };
  }

  /** Positions that its lane will hold at most. */
  get room(): number {
    const { prompt_T, sampling } = this.ask;
    return this.isScoring && prompt_T.length <= this.host.rules.chunk ? 0 : prompt_T.length + sampling.maxTokens - 1;
  }

  /** Where the positions of its next run lie. */
  get layout(): Layout {
    const { padding } = this.host.rules;
    return padding ? layoutOf(padding, this.held, this.nextCount) : { past: this.held, fresh: this.nextCount };
  }

  /** Whether its next run and the other's may be one. */
  runsWith(other: Sequence): boolean {
    const [a, b] = [this.layout, other.layout];
    const isAlike = !this.host.rules.padding || (a.past === b.past && a.fresh === b.fresh);
    return isAlike && this.k > NARROW_K === other.k > NARROW_K;
  }

  /** Rows that the next run must return for it. */
  get rowCount(): number {
    const { begin, end } = this.scored;
    return end - begin + (this.drawsNext ? 1 : 0);
  }

  /** Best ids that each row of the next run must return. */
  get k(): number {
    const draw = this.drawsNext ? Math.max(this.drawNeeds.k, this.ask.logprobs ?? 0) : 1;
    return Math.max(1, draw, this.isDecoding ? 0 : (this.ask.promptLogprobs ?? 0));
  }

  nextPart(): RunPart {
    const { prompt_T } = this.ask;
    const ids_S = this.isDecoding ? Int32Array.of(this.completion[this.completion.length - 1]) : prompt_T.slice(this.held, this.held + this.nextCount);
    return { lane: this.lane, held: this.held, ids_S, rows: this.nextRows(), after: this.after() };
  }

  /** Takes in the rows of `nextPart`, of which `view` is the first. */
  accept(view: RowView): void {
    const asked = this.nextRows();
    const draws = this.drawsNext;
    asked.slice(0, draws ? -1 : undefined).forEach((ask, offset) => {
      const row = { ...view, index: view.index + offset };
      const actual = { id: ask.label, logProb: logProb(row, view.rows.labelLogits_R[row.index]), rank: view.rows.labelRanks_R[row.index] };
      this.promptScores.push(scoreOf(row, actual, this.ask.promptLogprobs ?? 0));
    });
    this.held += this.nextCount;
    if (draws) this.take({ ...view, index: view.index + asked.length - 1 });
  }

  private take(row: RowView): void {
    const { sampling, logprobs } = this.ask;
    const chosen = chooseId(row, sampling, this.uniform());
    this.completion.push(chosen.id);
    if (logprobs !== undefined) this.scores.push(scoreOf(row, chosen, logprobs));
    if (sampling.stopIds.includes(chosen.id)) this.finish = 'stop';
    else if (this.completion.length === sampling.maxTokens) this.finish = 'length';
  }

  private get nextCount(): number {
    if (this.isDecoding) return 1;
    const left = this.ask.prompt_T.length - this.held;
    // A wide draw stands alone: all rows of its run return as many ids, and a prompt has too many rows for that.
    const isApart = this.ask.promptLogprobs !== undefined && this.drawNeeds.k > NARROW_K && left > 1;
    return Math.min(this.host.rules.chunk, isApart ? left - 1 : left);
  }

  private get drawsNext(): boolean {
    return this.held + this.nextCount >= this.ask.prompt_T.length;
  }

  private after(): RunPart['after'] {
    if (!this.drawsNext) return 'read';
    return this.completion.length + 1 === this.ask.sampling.maxTokens ? 'forget' : 'decode';
  }

  private nextRows(): RowAsk[] {
    const { prompt_T } = this.ask;
    const { begin, end } = this.scored;
    const rows: RowAsk[] = Array.from({ length: end - begin }, (_, index) => ({ at: begin + index, label: prompt_T[this.held + begin + index + 1] }));
    if (this.drawsNext) rows.push({ at: this.nextCount - 1, label: 0, draw: this.draw() });
    return rows;
  }

  /** Ids of the next run whose prediction of the next prompt id is wanted. */
  private get scored(): { readonly begin: number; readonly end: number } {
    const { prompt_T, promptLogprobs, scoredFrom } = this.ask;
    if (promptLogprobs === undefined || this.isDecoding) return { begin: 0, end: 0 };
    const end = Math.min(this.nextCount, prompt_T.length - 1 - this.held);
    return { begin: Math.min(Math.max(0, scoredFrom - 1 - this.held), end), end };
  }

  /** Absent where the id is chosen among the best. */
  private draw(): Draw | undefined {
    const { temperature, isFree } = this.drawNeeds;
    return isFree ? { temperature, uniform: this.uniform() } : undefined;
  }

  private get drawNeeds(): DrawNeeds {
    return drawNeeds(this.ask.sampling, this.host.vocabSize);
  }

  private uniform(): number {
    const { seed, prompt, sample } = this.ask.key;
    return drawUniform({ seed, stage: 0, step: prompt, sample, position: this.completion.length });
  }
}

type Actual = Pick<PositionScore, 'id' | 'logProb' | 'rank'>;

function scoreOf(row: RowView, actual: Actual, k: number): PositionScore {
  const begin = row.index * row.k;
  return {
    ...actual,
    topIds_K: row.rows.topIds_RK.slice(begin, begin + k),
    topLogProbs_K: row.rows.topLogits_RK.slice(begin, begin + k).map((logit) => logProb(row, logit)),
  };
}
