import type { CompletionRequest } from './completion.schema.js';
import type { PositionScore, SequenceAnswer, SequenceAsk } from './sequence.js';
import type { ServedModel } from './served-model.js';

/** What vLLM sends for minus infinity, which JSON has no number for. */
const MINUS_INFINITY = -9999;
/** Log-probs are sent in steps of this many a nat, which is finer than float32 logits are. */
const STEPS_A_NAT = 1e7;

export interface AnsweredRequest {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly request: CompletionRequest;
  /** In the order of the choices. */
  readonly asks: readonly SequenceAsk[];
  readonly answers: readonly SequenceAnswer[];
}

/** The JSON body of vLLM's CompletionResponse. */
export function completionJson(model: ServedModel, answered: AnsweredRequest): string {
  const { id, created, request, asks, answers } = answered;
  const n = request.n ?? 1;
  const writer = new ChoiceWriter(model, request);
  // A prompt is scored once, with its first sample, and its scores stand in each of its choices.
  const promptLogprobs = answers.map((answer, index) => (index % n === 0 ? writer.promptLogprobs(asks[index], answer) : ''));
  const choices = answers.map((answer, index) => `${writer.fields(index, asks[index], answer).slice(0, -1)},"prompt_logprobs":${promptLogprobs[index - (index % n)]}}`);
  const prompt_tokens = asks.filter((ask) => ask.key.sample === 0).reduce((sum, ask) => sum + ask.prompt_T.length, 0);
  const completion_tokens = answers.reduce((sum, answer) => sum + answer.completion.length, 0);
  const head = JSON.stringify({ id, object: 'text_completion', created, model: model.name });
  const usage = JSON.stringify({ prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens });
  return `${head.slice(0, -1)},"choices":[${choices.join(',')}],"usage":${usage}}`;
}

class ChoiceWriter {
  constructor(
    private readonly model: ServedModel,
    private readonly request: CompletionRequest,
  ) {}

  /** A JSON object of everything but the prompt's log-probs. */
  fields(index: number, ask: SequenceAsk, answer: SequenceAnswer): string {
    const { completion, finish } = answer;
    const ending = completion[completion.length - 1];
    const spoken = finish === 'stop' ? completion.slice(0, -1) : completion;
    return JSON.stringify({
      index,
      text: this.model.tokenizer.decode(Int32Array.from(spoken), { skipSpecial: this.request.skip_special_tokens === false ? 'keep' : 'skip' }),
      logprobs: this.request.logprobs === null || this.request.logprobs === undefined ? null : this.logprobs(answer.scores),
      finish_reason: finish,
      stop_reason: finish === 'stop' && (this.request.ignore_eos || !this.model.config.eosIds.includes(ending)) ? ending : null,
      token_ids: this.request.return_token_ids ? completion : null,
      prompt_token_ids: this.request.return_token_ids ? Array.from(ask.prompt_T) : null,
    });
  }

  /** Written by hand: JavaScript objects sort keys that are numbers, and clients of vLLM may rely on the actual id standing first. */
  promptLogprobs({ promptLogprobs, prompt_T }: SequenceAsk, { promptScores }: SequenceAnswer): string {
    if (promptLogprobs === undefined) return 'null';
    const positions = promptScores.map((score) => {
      const entries = candidates(score).map(({ id, logProb, rank }) => `"${id}":{"logprob":${sent(logProb)},"rank":${rank},"decoded_token":${JSON.stringify(this.model.textOf(id))}}`);
      return `{${entries.join(',')}}`;
    });
    return `[${[...new Array<string>(prompt_T.length - positions.length).fill('null'), ...positions].join(',')}]`;
  }

  private logprobs(scores: readonly PositionScore[]): object {
    const tokens = scores.map(({ id }) => this.name(id));
    let end = 0;
    return {
      text_offset: tokens.map((token) => (end += token.length) - token.length),
      token_logprobs: scores.map(({ logProb }) => sent(logProb)),
      tokens,
      top_logprobs: scores.map((score) => Object.fromEntries(candidates(score).map(({ id, logProb }) => [this.name(id), sent(logProb)]))),
    };
  }

  private name(id: number): string {
    return this.request.return_tokens_as_token_ids ? `token_id:${id}` : this.model.textOf(id);
  }
}

type Candidate = Pick<PositionScore, 'id' | 'logProb' | 'rank'>;

/** The actual id first, then the best k without it. Among the best a rank is the place in the list, so that equal logits have ranks of their own. */
function candidates({ id, logProb, rank, topIds_K, topLogProbs_K }: PositionScore): Candidate[] {
  const best = Array.from(topIds_K, (topId, index): Candidate => ({ id: topId, logProb: topLogProbs_K[index], rank: index + 1 }));
  const actual = best.find((candidate) => candidate.id === id) ?? { id, logProb, rank };
  return [actual, ...best.filter((candidate) => candidate !== actual)];
}

function sent(logProb: number): number {
  return logProb === -Infinity ? MINUS_INFINITY : Math.round(logProb * STEPS_A_NAT) / STEPS_A_NAT;
}
