import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

/** How one request is answered instead of honestly. */
export type Misbehaviour =
  | { readonly kind: 'status'; readonly status: number; readonly retryAfter?: string }
  /** Takes the request and never answers. */
  | { readonly kind: 'hang' }
  /** Sends a byte of an endless answer every so often. */
  | { readonly kind: 'drip'; readonly everyMs: number }
  /** Closes the connection instead of answering. */
  | { readonly kind: 'reset' }
  /** A body of so many bytes. */
  | { readonly kind: 'huge'; readonly bytes: number }
  | { readonly kind: 'html' }
  | { readonly kind: 'deep' }
  /** The honest answer, spoilt. */
  | { readonly kind: 'truncated' | 'nan' | 'positive' | 'wrong_vocabulary' | 'wrong_length' };

/** Every kind of answer with status 200 that must not be used. */
export const INVALID_ANSWERS: readonly Misbehaviour[] = [
  { kind: 'truncated' },
  { kind: 'html' },
  { kind: 'nan' },
  { kind: 'positive' },
  { kind: 'wrong_vocabulary' },
  { kind: 'wrong_length' },
  { kind: 'deep' },
  { kind: 'huge', bytes: 2 ** 24 },
];

/** A request as it came. */
export interface SeenRequest {
  /** Counts the requests, from 1. */
  readonly number: number;
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** When it came, milliseconds of `performance.now`. */
  readonly atMs: number;
  /** What it met; undefined for an honest answer. */
  readonly met?: Misbehaviour;
}

/** A server in front of an honest teacher that passes on what it answers, or misbehaves on command; it keeps every request with its time. */
export class MisbehavingTeacher {
  readonly received: SeenRequest[] = [];
  private decide: (request: SeenRequest) => Misbehaviour | undefined = () => undefined;
  private readonly server = createServer((request, response) => void this.handle(request, response).catch(() => response.destroy()));

  private constructor(private readonly target: string) {}

  /** @param target the address of the honest one. */
  static async start(target: string): Promise<MisbehavingTeacher> {
    const teacher = new MisbehavingTeacher(target);
    teacher.server.listen(0, '127.0.0.1');
    await once(teacher.server, 'listening');
    return teacher;
  }

  get url(): string {
    const address = this.server.address();
    if (address === null || typeof address === 'string') throw new Error('the teacher does not listen');
    return `http://127.0.0.1:${address.port}`;
  }

  /** From now on each request meets what `decide` says; undefined is an honest answer. */
  misbehave(decide: (request: SeenRequest) => Misbehaviour | undefined): void {
    this.decide = decide;
  }

  /** From now on every answer is honest. */
  behave(): void {
    this.decide = () => undefined;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const atMs = performance.now();
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString('utf8');
    const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
    const seen = { number: this.received.length + 1, path: request.url ?? '', body, atMs };
    const met = this.decide(seen);
    this.received.push({ ...seen, met });
    if (met && answerBadly(response, met)) return;
    const { status, bytes } = await this.ask(request, text);
    send(response, status, met ? spoilt(bytes, met) : bytes);
  }

  private async ask({ method, url, headers: { authorization } }: IncomingMessage, text: string): Promise<{ status: number; bytes: Buffer }> {
    const headers = { 'content-type': 'application/json', ...(authorization === undefined ? {} : { authorization }) };
    const answer = await fetch(`${this.target}${url}`, { method, headers, ...(method === 'POST' ? { body: text } : {}) });
    return { status: answer.status, bytes: Buffer.from(await answer.arrayBuffer()) };
  }
}

/** Whether a request is one that asks who the teacher is, or whether it is there. */
export function isProbe({ path, body }: Pick<SeenRequest, 'path' | 'body'>): boolean {
  return path !== '/v1/completions' || String(body.prompt) === '3,1,4,1,5,9,2,6';
}

/** @returns whether that was the answer; what spoils an honest one needs it first. */
function answerBadly(response: ServerResponse, met: Misbehaviour): boolean {
  switch (met.kind) {
    case 'status':
      send(response, met.status, '{"error":{"message":"as told"}}', met.retryAfter === undefined ? {} : { 'retry-after': met.retryAfter });
      return true;
    case 'hang':
      return true;
    case 'drip':
      drip(response, met.everyMs);
      return true;
    case 'reset':
      response.destroy();
      return true;
    case 'huge':
      flood(response, met.bytes);
      return true;
    case 'html':
      send(response, 200, '<!doctype html><title>Welcome</title>', { 'content-type': 'text/html' });
      return true;
    case 'deep':
      send(response, 200, `{"choices":${'['.repeat(100_000)}${']'.repeat(100_000)}}`);
      return true;
    default:
      return false;
  }
}

function send(response: ServerResponse, status: number, body: string | Buffer, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(body);
}

function drip(response: ServerResponse, everyMs: number): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  const timer = setInterval(() => response.write(' '), everyMs);
  response.on('close', () => clearInterval(timer));
}

function flood(response: ServerResponse, bytes: number): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  const chunk = Buffer.alloc(2 ** 16, ' ');
  let left = bytes;
  const more = (): void => {
    while (left > 0 && !response.destroyed) {
      left -= chunk.length;
      if (!response.write(chunk)) return;
    }
    response.end();
  };
  response.on('drain', more);
  more();
}

interface Choice {
  token_ids?: number[] | null;
  prompt_logprobs?: (Record<string, { logprob: number }> | null)[] | null;
  logprobs?: { tokens: string[]; token_logprobs: number[]; top_logprobs: Record<string, number>[] } | null;
}

/** An id that no vocabulary of the tests has. */
const FOREIGN = 2_000_000;

function spoilt(honest: Buffer, { kind }: Misbehaviour): Buffer {
  if (kind === 'truncated') return honest.subarray(0, honest.length / 2);
  const reply = JSON.parse(honest.toString('utf8')) as { choices?: Choice[] };
  const choice = reply.choices?.[0];
  if (!choice) return Buffer.from('{}'); // of another route, an answer of another form
  if (choice.prompt_logprobs) spoilScores(choice.prompt_logprobs, kind);
  else if (choice.logprobs) spoilCompletion(choice, choice.logprobs, kind);
  const text = JSON.stringify(reply);
  return Buffer.from(kind === 'nan' ? text.replace(`"${NAN}"`, 'NaN') : text);
}

/** Stands for what JSON cannot say. */
const NAN = 'not a number';

function spoilScores(rows: NonNullable<Choice['prompt_logprobs']>, kind: Misbehaviour['kind']): void {
  const last = rows[rows.length - 1] ?? {};
  const [[key, entry]] = Object.entries(last);
  if (kind === 'positive') entry.logprob = 0.5;
  if (kind === 'nan') Object.assign(entry, { logprob: NAN });
  if (kind === 'wrong_length') rows.pop();
  if (kind === 'wrong_vocabulary') {
    delete last[key];
    last[FOREIGN] = entry;
  }
}

function spoilCompletion(choice: Choice, { tokens, token_logprobs, top_logprobs }: NonNullable<Choice['logprobs']>, kind: Misbehaviour['kind']): void {
  if (kind === 'positive') top_logprobs[0][tokens[0]] = token_logprobs[0] = 0.5;
  if (kind === 'nan') Object.assign(token_logprobs, { 0: NAN });
  if (kind === 'wrong_length') token_logprobs.pop();
  if (kind === 'wrong_vocabulary') {
    const name = `token_id:${FOREIGN}`;
    top_logprobs[0][name] = top_logprobs[0][tokens[0]];
    delete top_logprobs[0][tokens[0]];
    tokens[0] = name;
    choice.token_ids?.splice(0, 1, FOREIGN);
  }
}
