import type { Readable } from 'node:stream';
import { Agent, request, type Dispatcher } from 'undici';
import { z } from 'zod';
import { Aborted } from '../common/errors.js';
import { ApiAnswerUnknown, ApiRefused, ApiUnreachable } from './api-errors.js';
import { readEvents, type ServerEvent } from './event-stream.js';

/** Where the service is and who asks. */
export interface ApiAddress {
  /** `http://host:port`, without `/v1`. */
  readonly url: string;
  readonly key: string;
}

/** A body that is not JSON. */
export interface BytesBody {
  readonly type: string;
  /** How many bytes the stream gives. */
  readonly bytes: number;
  readonly stream: Readable;
}

interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly json?: unknown;
  readonly body?: BytesBody;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

const Page = z.object({ data: z.array(z.unknown()), has_more: z.boolean(), last_id: z.string().nullable() });

/**
 * Speaks to the service over REST. Paths begin with `/v1`. Every method throws ApiRefused with the service's own code, ApiUnreachable,
 * ApiAnswerUnknown when an answer does not fit its schema, and Aborted when the signal fires.
 */
export class ApiClient {
  // Answers may take as long as what they wait for: a dry run, the import of a model, a stream of events.
  private readonly agent = new Agent({ headersTimeout: 0, bodyTimeout: 0 });

  constructor(private readonly address: ApiAddress) {}

  get<Answer>(path: string, schema: z.ZodType<Answer>, signal?: AbortSignal): Promise<Answer> {
    return this.json(path, { method: 'GET', signal }, schema);
  }

  /** @param options.idempotencyKey lets the service answer a repeated call with the first answer. */
  post<Answer>(path: string, json: unknown, schema: z.ZodType<Answer>, options: { readonly idempotencyKey?: string; readonly signal?: AbortSignal } = {}): Promise<Answer> {
    const headers: Record<string, string> = options.idempotencyKey === undefined ? {} : { 'idempotency-key': options.idempotencyKey };
    return this.json(path, { method: 'POST', json, headers, signal: options.signal }, schema);
  }

  delete<Answer>(path: string, schema: z.ZodType<Answer>): Promise<Answer> {
    return this.json(path, { method: 'DELETE' }, schema);
  }

  /** Sends bytes as they are read. */
  send<Answer>(method: 'POST' | 'PUT', path: string, body: BytesBody, schema: z.ZodType<Answer>): Promise<Answer> {
    return this.json(path, { method, body }, schema);
  }

  /** Every item of a list, page after page. @param path may hold a query of its own. */
  async *list<Item>(path: string, item: z.ZodType<Item>): AsyncGenerator<Item> {
    for (let after: string | null = null; ; ) {
      const query: string = after === null ? '' : `${path.includes('?') ? '&' : '?'}after=${encodeURIComponent(after)}`;
      const page = await this.get(path + query, Page);
      for (const each of page.data) yield checked(item, each, path);
      if (!page.has_more || page.last_id === null) return;
      after = page.last_id;
    }
  }

  /** The bytes of an answer, as they come. */
  async download(path: string, signal?: AbortSignal): Promise<Readable> {
    return (await this.call(path, { method: 'GET', signal })).body;
  }

  /**
   * The events of a stream until the server ends it. @param lastEventId the id of the last event seen; those after it come.
   * @throws ApiUnreachable also when the connection breaks: call again with the last id.
   */
  async *stream(path: string, { lastEventId, signal }: { readonly lastEventId?: string; readonly signal?: AbortSignal } = {}): AsyncGenerator<ServerEvent> {
    const headers: Record<string, string> = { accept: 'text/event-stream', ...(lastEventId !== undefined && { 'last-event-id': lastEventId }) };
    const { body } = await this.call(path, { method: 'GET', headers, signal });
    try {
      yield* readEvents(body);
    } catch (cause) {
      throw this.broken(cause, signal);
    }
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  private async json<Answer>(path: string, call: Call, schema: z.ZodType<Answer>): Promise<Answer> {
    const { body } = await this.call(path, call);
    return checked(schema, await body.json(), path);
  }

  private async call(path: string, { method, json, body, headers, signal }: Call): Promise<Dispatcher.ResponseData> {
    const described = json === undefined ? {} : { 'content-type': 'application/json' };
    const sized = body === undefined ? {} : { 'content-type': body.type, 'content-length': String(body.bytes) };
    let answer: Dispatcher.ResponseData;
    try {
      answer = await request(new URL(path, this.address.url), {
        method,
        dispatcher: this.agent,
        headers: { authorization: `Bearer ${this.address.key}`, ...described, ...sized, ...headers },
        body: body?.stream ?? (json === undefined ? null : JSON.stringify(json)),
        signal: signal ?? null,
      });
    } catch (cause) {
      throw this.broken(cause, signal);
    }
    if (answer.statusCode < 300) return answer;
    throw new ApiRefused(answer.statusCode, await answer.body.text(), asText(answer.headers['x-request-id']));
  }

  private broken(cause: unknown, signal: AbortSignal | undefined): Error {
    if (signal?.aborted) return new Aborted('the request');
    const why = cause instanceof Error ? cause.message || ('code' in cause ? String(cause.code) : cause.name) : String(cause);
    return new ApiUnreachable(`no answer from ${this.address.url}: ${why}; is the service up there ("limbeck up"), or is it elsewhere (--api)?`, { cause });
  }
}

function checked<Value>(schema: z.ZodType<Value>, value: unknown, path: string): Value {
  const outcome = schema.safeParse(value);
  if (outcome.success) return outcome.data;
  const [{ path: at, message }] = outcome.error.issues;
  throw new ApiAnswerUnknown(`the answer to ${path} is not understood (${at.join('.') || 'its form'}: ${message}); do command and service have the same version?`);
}

function asText(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : undefined;
}
