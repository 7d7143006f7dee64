import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Sampling, TokenIds } from '../../tokens/sample.js';
import type { ScoreSequence, TargetBlock } from '../../tokens/target.js';
import { TeacherPressure } from '../pressure/teacher-pressure.js';
import { SYSTEM_TIMING } from '../timing.js';
import { TeacherAnswerInvalid, TeacherClient, TeacherRefused, type TaughtSample, type TeacherCapabilities, type TeacherPrompt } from '../teacher-client.js';
import { readCompletion, readScores } from './completion-reply.js';
import { asTheyFinish, CostGate } from './in-flight.js';
import { RequestRefused, VllmHttp, type Exchange } from './vllm-http.js';
import { DEFAULT_LIMITS, type VllmLimits, type VllmTeacherOptions } from './vllm-options.js';

/** Bytes one support entry takes in a reply, generously, and what everything else may take. */
const ENTRY_BYTES = 100;
const OTHER_BYTES = 2 ** 20;
/** Ids that every vocabulary has; scored to learn what the teacher grants and who it is. */
const PROBE_IDS = Int32Array.of(3, 1, 4, 1, 5, 9, 2, 6);
/** Defaults of a served model are not neutral (its generation_config.json), so every field is always sent. */
const NEUTRAL = { n: 1, stream: false, min_p: 0, repetition_penalty: 1, presence_penalty: 0, frequency_penalty: 0 };
const IDS_ONLY = { return_token_ids: true, return_tokens_as_token_ids: true, skip_special_tokens: false };

const Models = z.object({ data: z.array(z.object({ id: z.string(), max_model_len: z.int().nullish(), parent: z.string().nullish() })) });
const Tokens = z.object({ tokens: z.array(z.int().min(0)) });

/** A teacher behind vLLM's OpenAI-compatible server, or one that speaks the same dialect (contracts reference, section 2). */
export class VllmTeacherClient extends TeacherClient {
  private readonly http: VllmHttp;
  private readonly limits: VllmLimits;
  private readonly gate: CostGate;
  private readonly probing: Exchange['attempts'];

  constructor(private readonly options: VllmTeacherOptions) {
    super();
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.gate = new CostGate(this.limits.entriesInFlight);
    const { baseUrl, timing = SYSTEM_TIMING, pressure = TeacherPressure.own(baseUrl, timing) } = options;
    this.probing = pressure.patience === 'waits' ? 'within_limits' : 'once';
    this.http = new VllmHttp(baseUrl, { ...options, limits: this.limits, timing, pressure });
  }

  /** Asks once, without retries, unless it waits for a teacher that is away: who starts a run wants to know now. */
  override async probe(k: number, signal: AbortSignal = never()): Promise<TeacherCapabilities> {
    const maxLength = await this.maxLength(signal);
    const first = await this.probeScores(k, signal);
    const second = await this.probeScores(k, signal);
    const repeatable = sameBits(first.actualLogProbs_R, second.actualLogProbs_R) && sameBits(first.logProbs_S, second.logProbs_S);
    const hash = createHash('sha256').update(JSON.stringify({ model: this.options.model, maxLength }));
    if (repeatable) hash.update(first.actualLogProbs_R);
    return { model: this.options.model, maxLength, repeatable, fingerprint: hash.digest('hex') };
  }

  /** Asks once for the least that shows that the teacher answers. @throws TeacherUnavailable, TeacherRefused, TeacherAnswerInvalid, Aborted */
  async knock(signal: AbortSignal): Promise<void> {
    await this.scoreOne({ sequence: { ids_T: PROBE_IDS, from: 1 }, index: 0, k: 1, attempts: 'once' }, signal);
  }

  override async tokenize(text: string, signal: AbortSignal = never()): Promise<TokenIds | undefined> {
    const body = { model: this.options.model, prompt: text, add_special_tokens: false };
    try {
      return await this.http.ask({ ...this.exchange('/tokenize', { tokens: text.length, k: 1 }), body }, readTokens, signal);
    } catch (error) {
      if (error instanceof RequestRefused && error.status === 404) return undefined;
      throw error;
    }
  }

  override generate(prompts: readonly TeacherPrompt[], sampling: Sampling, k: number, signal?: AbortSignal): AsyncIterable<TaughtSample> {
    return asTheyFinish(prompts.map((prompt, index) => (stop) => this.write({ prompt, index, sampling, k }, stop)), signal);
  }

  override score(sequences: readonly ScoreSequence[], k: number, signal?: AbortSignal): AsyncIterable<TargetBlock> {
    return asTheyFinish(sequences.map((sequence, index) => (stop) => this.scoreOne({ sequence, index, k, attempts: 'within_limits' }, stop)), signal);
  }

  override close(): Promise<void> {
    return this.http.close();
  }

  private async write({ prompt, index, sampling, k }: WriteJob, signal: AbortSignal): Promise<TaughtSample> {
    const { ids_T, seed } = prompt;
    const { maxTokens, temperature, topP, topK, stopIds } = sampling;
    const body = {
      ...this.request(ids_T),
      max_tokens: maxTokens,
      temperature,
      top_p: topP,
      top_k: topK,
      seed,
      stop_token_ids: stopIds,
      logprobs: k,
    };
    const exchange = { ...this.exchange('/v1/completions', { tokens: ids_T.length + maxTokens, k }), body };
    const read = (reply: unknown) => readCompletion(reply, { index, ids_T, k, vocabSize: this.options.vocabSize }, maxTokens);
    const written = await this.gate.within(maxTokens * k, signal, () => this.http.ask(exchange, read, signal));
    return { index, prompt_T: ids_T, ...written };
  }

  private async scoreOne({ sequence, index, k, attempts }: ScoreJob, signal: AbortSignal): Promise<TargetBlock> {
    const { ids_T, from } = sequence;
    const body = { ...this.request(ids_T), max_tokens: 1, temperature: 0, top_p: 1, top_k: 0, seed: 0, stop_token_ids: [], prompt_logprobs: k, prompt_logprobs_start: from };
    const exchange = { ...this.exchange('/v1/completions', { tokens: ids_T.length, k }), body, attempts };
    const read = (reply: unknown) => readScores(reply, { index, ids_T, k, vocabSize: this.options.vocabSize }, from);
    return this.gate.within(ids_T.length * k, signal, () => this.http.ask(exchange, read, signal));
  }

  private request(prompt_T: TokenIds): object {
    return { model: this.options.model, prompt: Array.from(prompt_T), ...NEUTRAL, ...IDS_ONLY };
  }

  /** A POST whose limits follow from the tokens read or written and the entries asked of each. */
  private exchange(path: string, asked: { readonly tokens: number; readonly k: number }): Exchange {
    return {
      method: 'POST',
      path,
      answerMs: this.limits.answerMs + asked.tokens * this.limits.answerMsPerToken,
      mostBytes: asked.tokens * (asked.k + 1) * ENTRY_BYTES + OTHER_BYTES,
      attempts: 'within_limits',
    };
  }

  private maxLength(signal: AbortSignal): Promise<number> {
    const exchange: Exchange = { method: 'GET', path: '/v1/models', answerMs: this.limits.answerMs, mostBytes: OTHER_BYTES, attempts: this.probing };
    return this.http.ask(exchange, (reply) => this.readMaxLength(reply), signal);
  }

  private readMaxLength(reply: unknown): number {
    const parsed = Models.safeParse(reply);
    if (!parsed.success) throw new TeacherAnswerInvalid(`/v1/models answered without a list of models: ${z.prettifyError(parsed.error)}`);
    const { data } = parsed.data;
    const served = data.find(({ id }) => id === this.options.model);
    if (!served) {
      throw new TeacherRefused(`the teacher at ${this.options.baseUrl} does not serve ${this.options.model}${this.http.said(`; it serves ${data.map(({ id }) => id).join(', ') || 'nothing'}`)}`);
    }
    const maxLength = served.max_model_len ?? data.find(({ id }) => id === served.parent)?.max_model_len;
    if (!maxLength) throw new TeacherAnswerInvalid(`/v1/models does not say max_model_len of ${this.options.model}; vLLM does`);
    return maxLength;
  }

  private async probeScores(k: number, signal: AbortSignal): Promise<TargetBlock> {
    try {
      return await this.scoreOne({ sequence: { ids_T: PROBE_IDS, from: 1 }, index: 0, k, attempts: this.probing }, signal);
    } catch (error) {
      if (!(error instanceof RequestRefused) || !/logprobs/i.test(`${error.words.param ?? ''} ${error.words.message}`)) throw error;
      throw new TeacherRefused(`the teacher grants fewer than ${k} ids a position${this.http.said(` (${error.words.message})`)}; start it with --max-logprobs ${k}, or ask for fewer (targets.top_k)`, { cause: error });
    }
  }
}

interface WriteJob {
  readonly prompt: TeacherPrompt;
  readonly index: number;
  readonly sampling: Sampling;
  readonly k: number;
}

interface ScoreJob {
  readonly sequence: ScoreSequence;
  readonly index: number;
  readonly k: number;
  readonly attempts: Exchange['attempts'];
}

function readTokens(reply: unknown): TokenIds {
  const parsed = Tokens.safeParse(reply);
  if (!parsed.success) throw new TeacherAnswerInvalid(`/tokenize answered without a list of ids: ${z.prettifyError(parsed.error)}`);
  return Int32Array.from(parsed.data.tokens);
}

function never(): AbortSignal {
  return new AbortController().signal;
}

function sameBits(a: Float32Array, b: Float32Array): boolean {
  return Buffer.from(a.buffer).equals(Buffer.from(b.buffer));
}
