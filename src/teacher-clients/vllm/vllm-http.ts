import { Agent, errors, request, type Dispatcher } from 'undici';
import { isAtMostDeep, JSON_DEPTH, readAtMost } from '../../common/bounded-reply.js';
import { Aborted } from '../../common/errors.js';
import { TeacherAnswerInvalid, TeacherRefused, TeacherUnavailable } from '../teacher-client.js';
import { errorWords, quote, type ErrorWords } from './error-words.js';
import { RetryBudget, retryAfterMs, type Trouble } from './retry.js';
import type { Timing, VllmLimits, VllmTeacherOptions } from './vllm-options.js';

/** One request to the teacher, and what its answer may take. */
export interface Exchange {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: unknown;
  /** Until the first byte: an answer that is not streamed begins when it is done, so this follows from the work asked for. */
  readonly answerMs: number;
  /** The body is cut off, and refused, beyond this. */
  readonly mostBytes: number;
  readonly attempts: 'once' | 'within_budget';
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

type Attempt = { readonly kind: 'answered'; readonly body: Buffer } | ({ readonly kind: 'setback' } & Setback);

/** An attempt that failed in a way that may pass. */
interface Setback {
  readonly trouble: Trouble;
  /** What befell it, for a person. */
  readonly what: string;
  readonly cause?: unknown;
}

/** How a teacher is spoken with; see `VllmTeacherOptions`. */
interface VllmHttpSettings extends Pick<VllmTeacherOptions, 'apiKey' | 'dispatcher' | 'replies'> {
  readonly limits: VllmLimits;
  readonly timing: Timing;
}

/** Speaks HTTP with one teacher: sends, waits, bounds, retries; knows nothing of what is said. */
export class VllmHttp {
  private readonly dispatcher: Dispatcher;
  private readonly origin: string;

  constructor(
    baseUrl: string,
    private readonly settings: VllmHttpSettings,
  ) {
    this.origin = baseUrl.replace(/\/+$/, '').replace(/\/v1$/, '');
    this.dispatcher = settings.dispatcher ?? new Agent({ connect: { timeout: settings.limits.connectMs } });
  }

  /**
   * @returns the body of a 200, parsed as JSON.
   * @throws TeacherUnavailable, TeacherRefused (as `RequestRefused` when it has a status), TeacherAnswerInvalid when not JSON or too long, Aborted.
   */
  async json(exchange: Exchange, signal: AbortSignal): Promise<unknown> {
    const body = await this.body(exchange, signal);
    if (!isAtMostDeep(body)) throw new TeacherAnswerInvalid(`${this.where(exchange)} answered with JSON nested more than ${JSON_DEPTH} deep; nothing of it was used`);
    const text = body.toString('utf8');
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new TeacherAnswerInvalid(`${this.where(exchange)} answered 200 with something that is not JSON${this.said(`: ${quote(text)}`)}. Is base_url that of a vLLM server?`, { cause: error });
    }
  }

  async close(): Promise<void> {
    await this.dispatcher.destroy();
  }

  /** The server's own words, where they may be repeated. */
  said(words: string): string {
    return this.settings.replies === 'withheld' ? '' : words;
  }

  private async body(exchange: Exchange, signal: AbortSignal): Promise<Buffer> {
    const budget = new RetryBudget(this.settings.limits, this.settings.timing);
    for (let attempts = 1; ; attempts++) {
      const attempt = await this.attempt(exchange, signal);
      if (attempt.kind === 'answered') return attempt.body;
      const waitMs = exchange.attempts === 'once' ? undefined : budget.next(attempt.trouble);
      if (waitMs === undefined) throw this.unavailable(attempt, attempts);
      await this.settings.timing.wait(waitMs, signal).catch(() => stopped());
      if (signal.aborted) stopped();
    }
  }

  private unavailable({ what, cause }: Setback, attempts: number): TeacherUnavailable {
    const tries = attempts === 1 ? '' : ` after ${attempts} attempts`;
    return new TeacherUnavailable(`the teacher at ${this.origin} is not available${tries}: ${what}. Check that it runs and that base_url is right`, { cause });
  }

  private async attempt(exchange: Exchange, signal: AbortSignal): Promise<Attempt> {
    if (signal.aborted) stopped();
    try {
      const response = await this.send(exchange, signal);
      if (response.statusCode === 200) return { kind: 'answered', body: await this.read(response, exchange) };
      const { bytes } = await this.withinTime(response.body, exchange, () => readAtMost(response.body, ERROR_BODY_BYTES));
      return this.judge(exchange, response, bytes.toString('utf8'));
    } catch (error) {
      if (signal.aborted) stopped();
      if (TLS_CODES.test(codeOf(error) ?? '')) throw new TeacherRefused(`no safe connection to ${this.origin}: ${codeOf(error)}. Its certificate must name the host and come from an authority this machine trusts`, { cause: error });
      const what = socketFailure(error);
      if (what === undefined) throw error;
      return { kind: 'setback', trouble: { kind: 'socket' }, what, cause: error };
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
        throw new TeacherUnavailable(`${this.where(exchange)} did not answer within ${exchange.answerMs} ms; it is overloaded or stuck`, { cause: error });
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
    const timer = setTimeout(() => body.destroy(new TeacherUnavailable(`${this.where(exchange)} did not end its answer within ${ms} ms; it is overloaded or stuck`)), ms);
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

  private judge(exchange: Exchange, response: Dispatcher.ResponseData, body: string): Attempt {
    const { statusCode: status, headers } = response;
    const words = errorWords(body);
    const what = `${this.where(exchange)} answered ${status}${this.said(`: ${words.message}`)}`;
    if (status === 429 || (status >= 500 && status !== 501)) {
      const header = headers['retry-after'];
      const afterMs = retryAfterMs(typeof header === 'string' ? header : undefined, Date.now());
      return { kind: 'setback', trouble: { kind: status === 500 ? 'broken' : 'busy', afterMs }, what };
    }
    throw new RequestRefused(`${what}${remedy(status)}`, status, words);
  }

  private where({ method, path }: Exchange): string {
    return `${method} ${this.origin}${path}`;
  }
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
