import { Agent, errors, request, type Dispatcher } from 'undici';
import { isAtMostDeep, JSON_DEPTH, readAtMost } from '../../common/bounded-reply.js';
import { Aborted } from '../../common/errors.js';
import type { CallOutcome } from '../pressure/governor.js';
import type { TeacherPressure } from '../pressure/teacher-pressure.js';
import { TeacherAnswerInvalid, TeacherRefused, TeacherUnavailable } from '../teacher-client.js';
import type { Timing } from '../timing.js';
import { AnswerWatch } from './answer-watch.js';
import { errorWords, quote, type ErrorWords } from './error-words.js';
import { retryAfterMs, Tries, type Trouble } from './retry.js';
import type { VllmLimits, VllmTeacherOptions } from './vllm-options.js';

/** One request to the teacher, and what its answer may take. */
export interface Exchange {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: unknown;
  /** Until the first byte: an answer that is not streamed begins when it is done, so this follows from the work asked for. */
  readonly answerMs: number;
  /** The body is cut off, and refused, beyond this. */
  readonly mostBytes: number;
  readonly attempts: 'once' | 'within_limits';
}

/** The teacher answered with a status that says no. */
export class RequestRefused extends TeacherRefused {
  constructor(
    message: string,
    readonly status: number,
    readonly words: ErrorWords,
  ) {
    super(message);
  }
}

const ERROR_BODY_BYTES = 2 ** 16;

type Attempt<T> = { readonly kind: 'answered'; readonly answer: T } | ({ readonly kind: 'setback' } & Setback);

/** An attempt that failed in a way that may pass; `error` is thrown when no other follows. */
interface Setback {
  readonly trouble: Trouble;
  readonly error: (attempts: number) => Error;
}

/** How a teacher is spoken with; see `VllmTeacherOptions`. */
interface VllmHttpSettings extends Pick<VllmTeacherOptions, 'apiKey' | 'dispatcher' | 'replies'> {
  readonly limits: VllmLimits;
  readonly timing: Timing;
  readonly pressure: TeacherPressure;
}

/** Speaks HTTP with one teacher: sends, waits, bounds, retries; knows nothing of what is said. */
export class VllmHttp {
  private readonly dispatcher: Dispatcher;
  private readonly origin: string;
  private readonly watch = new AnswerWatch();

  constructor(
    baseUrl: string,
    private readonly settings: VllmHttpSettings,
  ) {
    this.origin = baseUrl.replace(/\/+$/, '').replace(/\/v1$/, '');
    this.dispatcher = settings.dispatcher ?? new Agent({ connect: { timeout: settings.limits.connectMs } });
  }

  /**
   * Asks until an answer can be read, as often as the limits say, and as long as the teacher's pressure waits for it.
   * @param read what the body of a 200, parsed as JSON, says. @throws from it TeacherAnswerInvalid; then the request is asked again.
   * @throws TeacherUnavailable, TeacherAway, TeacherRefused (as `RequestRefused` when it has a status), TeacherAnswerInvalid, TeacherBadOutput, Aborted.
   */
  async ask<T>(exchange: Exchange, read: (reply: unknown) => T, signal: AbortSignal): Promise<T> {
    const { limits, timing, pressure } = this.settings;
    let tries = new Tries(limits, timing.jitter);
    let awayMs = 0;
    const began = timing.now();
    for (let attempts = 1; ; attempts++) {
      const permit = await pressure.enter(kindOf(exchange, attempts), signal);
      awayMs += permit.awayMs;
      const attempt = await this.attempt(exchange, { read, attempts, leave: permit.leave }, signal);
      if (attempt.kind === 'answered') return attempt.answer;
      let waitMs = exchange.attempts === 'once' ? undefined : tries.next(attempt.trouble);
      if (waitMs === undefined) {
        if (!this.waitsAfter(attempt, timing.now() - began - awayMs) || exchange.attempts === 'once') throw attempt.error(attempts);
        waitMs = (await pressure.gaveUp()) ? 0 : limits.retryWaitMostMs;
        tries = new Tries(limits, timing.jitter);
      }
      if (waitMs > 0) await timing.wait(waitMs, signal).catch(() => stopped());
      if (signal.aborted) stopped();
    }
  }

  async close(): Promise<void> {
    await this.dispatcher.destroy();
    await this.settings.pressure.settled();
  }

  /** The server's own words, where they may be repeated. */
  said(words: string): string {
    return this.settings.replies === 'withheld' ? '' : words;
  }

  /** Whether a request that is out of tries goes on. One that fails for long while others are answered does not: something is wrong with it. */
  private waitsAfter({ trouble }: Setback, failedMs: number): boolean {
    const { patience, awayMs } = this.settings.pressure;
    return patience === 'waits' && trouble.kind !== 'invalid' && failedMs < awayMs;
  }

  /** One attempt, whose outcome is told however it ends. */
  private async attempt<T>(exchange: Exchange, { read, attempts, leave }: AttemptParts<T>, signal: AbortSignal): Promise<Attempt<T>> {
    let outcome: CallOutcome = { kind: 'other' };
    try {
      const attempt = await this.exchangeOnce(exchange, read, signal);
      outcome = attempt.kind === 'answered' ? { kind: 'answered', tries: attempts } : outcomeOf(attempt.trouble);
      return attempt;
    } finally {
      leave(outcome);
    }
  }

  private async exchangeOnce<T>(exchange: Exchange, read: (reply: unknown) => T, signal: AbortSignal): Promise<Attempt<T>> {
    if (signal.aborted) stopped();
    try {
      const response = await this.send(exchange, signal);
      if (response.statusCode !== 200) return await this.refusal(exchange, response);
      const answer = read(this.parse(exchange, await this.read(response, exchange)));
      this.watch.valid();
      return { kind: 'answered', answer };
    } catch (error) {
      if (signal.aborted) stopped();
      return this.setbackOf(error);
    }
  }

  /** @throws `error` when asking again would not help. */
  private setbackOf(error: unknown): Attempt<never> {
    if (error instanceof TeacherAnswerInvalid) {
      this.watch.invalid(error);
      return { kind: 'setback', trouble: { kind: 'invalid' }, error: () => error };
    }
    if (error instanceof TooSlow) return { kind: 'setback', trouble: { kind: 'timeout' }, error: () => error };
    if (TLS_CODES.test(codeOf(error) ?? '')) throw new TeacherRefused(`no safe connection to ${this.origin}: ${codeOf(error)}. Its certificate must name the host and come from an authority this machine trusts`, { cause: error });
    const what = socketFailure(error);
    if (what === undefined) throw error;
    return { kind: 'setback', trouble: { kind: 'socket' }, error: (attempts) => this.unavailable(what, attempts, error) };
  }

  private unavailable(what: string, attempts: number, cause?: unknown): TeacherUnavailable {
    const tries = attempts === 1 ? '' : ` after ${attempts} attempts`;
    return new TeacherUnavailable(`the teacher at ${this.origin} is not available${tries}: ${what}. Check that it runs and that base_url is right`, { cause });
  }

  private parse(exchange: Exchange, body: Buffer): unknown {
    if (!isAtMostDeep(body)) throw new TeacherAnswerInvalid(`${this.where(exchange)} answered with JSON nested more than ${JSON_DEPTH} deep; nothing of it was used`);
    const text = body.toString('utf8');
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new TeacherAnswerInvalid(`${this.where(exchange)} answered 200 with something that is not JSON${this.said(`: ${quote(text)}`)}. Is base_url that of a vLLM server?`, { cause: error });
    }
  }

  private send(exchange: Exchange, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const { apiKey, limits } = this.settings;
    return request(`${this.origin}${exchange.path}`, {
      dispatcher: this.dispatcher,
      method: exchange.method,
      headers: {
        accept: 'application/json',
        'accept-encoding': 'identity',
        ...(exchange.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
      },
      body: exchange.body === undefined ? null : JSON.stringify(exchange.body),
      headersTimeout: exchange.answerMs,
      bodyTimeout: limits.silenceMs,
      signal,
    }).catch((error: unknown) => {
      if (error instanceof errors.HeadersTimeoutError) {
        throw new TooSlow(`${this.where(exchange)} did not answer within ${exchange.answerMs} ms; it is overloaded or stuck`, { cause: error });
      }
      throw error;
    });
  }

  private async read({ headers, body }: Dispatcher.ResponseData, exchange: Exchange): Promise<Buffer> {
    const encoding = headers['content-encoding'] ?? 'identity';
    if (encoding !== 'identity') return this.leave(body, exchange, `with a packed body${this.said(` (${quote(String(encoding))})`)}, though it was asked for as it is`);
    const tooMuch = `with more than the ${exchange.mostBytes} bytes that were asked for could take`;
    if (Number(headers['content-length'] ?? 0) > exchange.mostBytes) return this.leave(body, exchange, tooMuch);
    const { bytes, whole } = await this.withinTime(body, exchange, () => readAtMost(body, exchange.mostBytes));
    return whole ? bytes : this.leave(body, exchange, tooMuch);
  }

  /** Ends a body that comes too slowly to be over in any sensible time, though it is never silent. */
  private async withinTime<T>(body: Dispatcher.ResponseData['body'], exchange: Exchange, reading: () => Promise<T>): Promise<T> {
    const { silenceMs, slowestBytesPerMs } = this.settings.limits;
    const ms = silenceMs + Math.ceil(exchange.mostBytes / slowestBytesPerMs);
    const timer = setTimeout(() => body.destroy(new TooSlow(`${this.where(exchange)} did not end its answer within ${ms} ms; it is overloaded or stuck`)), ms);
    try {
      return await reading();
    } finally {
      clearTimeout(timer);
    }
  }

  /** Closes the connection of an answer that breaks its bounds. */
  private leave(body: Dispatcher.ResponseData['body'], exchange: Exchange, how: string): never {
    body.on('error', () => undefined).destroy();
    throw new TeacherAnswerInvalid(`${this.where(exchange)} answered ${how}; nothing of it was used`);
  }

  /** @throws RequestRefused unless the status is one that may pass. */
  private async refusal(exchange: Exchange, { statusCode: status, headers, body }: Dispatcher.ResponseData): Promise<Attempt<never>> {
    const { bytes } = await this.withinTime(body, exchange, () => readAtMost(body, ERROR_BODY_BYTES));
    const words = errorWords(bytes.toString('utf8'));
    const what = `${this.where(exchange)} answered ${status}${this.said(`: ${words.message}`)}`;
    if (status !== 429 && (status < 500 || status === 501)) throw new RequestRefused(`${what}${remedy(status)}`, status, words);
    const header = headers['retry-after'];
    const afterMs = retryAfterMs(typeof header === 'string' ? header : undefined, Date.now());
    const kind = status === 500 ? 'broken' : status === 429 || status === 503 ? 'busy' : 'socket';
    return { kind: 'setback', trouble: { kind, afterMs }, error: (attempts) => this.unavailable(what, attempts) };
  }

  private where({ method, path }: Exchange): string {
    return `${method} ${this.origin}${path}`;
  }
}

interface AttemptParts<T> {
  readonly read: (reply: unknown) => T;
  /** How many it makes with those before. */
  readonly attempts: number;
  readonly leave: (outcome: CallOutcome) => void;
}

/** An answer that took more time than its work may take. */
class TooSlow extends TeacherUnavailable {}

function kindOf({ attempts: allowed }: Exchange, attempts: number): 'now' | 'first' | 'retry' {
  if (allowed === 'once') return 'now';
  return attempts === 1 ? 'first' : 'retry';
}

function outcomeOf({ kind, afterMs }: Trouble): CallOutcome {
  if (kind === 'invalid') return { kind };
  return { kind: kind === 'busy' || kind === 'timeout' ? 'overloaded' : 'failed', afterMs };
}

function remedy(status: number): string {
  if (status === 401 || status === 403) return '. Set api_key_env to the variable that holds the key the server was started with';
  if (status >= 300 && status < 400) return '. Redirects are not followed; give the final address as base_url';
  return '';
}

function stopped(): never {
  throw new Aborted('a request to the teacher');
}

const SOCKET_CODES = /^(ECONN|EPIPE|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|UND_ERR_(SOCKET|CONNECT_TIMEOUT|BODY_TIMEOUT)|HPE_)/;

// A certificate does not become right by asking again.
const TLS_CODES = /^(ERR_TLS|ERR_SSL|EPROTO|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_)/;

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** What befell the connection, when the error is of that kind. */
function socketFailure(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const code = codeOf(error);
  if (code !== undefined && SOCKET_CODES.test(code)) return `${error.message || code}${error.message.includes(code) ? '' : ` (${code})`}`;
  if (error instanceof AggregateError && error.errors.length > 0) return socketFailure(error.errors[0]);
  return error.cause === undefined ? undefined : socketFailure(error.cause);
}
