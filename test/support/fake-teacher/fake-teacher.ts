import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { once } from 'node:events';

/** How the fake answers one request: honestly, with something else, or not at all. */
export type Behaviour =
  | { readonly kind: 'status'; readonly status: number; readonly body: string; readonly headers?: Readonly<Record<string, string>> }
  /** The honest completion, changed in place before it is sent. */
  | { readonly kind: 'changed'; readonly change: (choice: FakeChoice) => void }
  | { readonly kind: 'text'; readonly text: string }
  /** Never answers. */
  | { readonly kind: 'hang' }
  /** Closes the connection instead of answering. */
  | { readonly kind: 'reset' }
  /** Closes the connection in the middle of an answer. */
  | { readonly kind: 'cut' }
  /** Sends bytes without end. */
  | { readonly kind: 'flood' }
  /** Sends a byte every few milliseconds, without end. */
  | { readonly kind: 'drip' };

/** The parts of a completion's choice that a client reads; each may be spoilt. */
export interface FakeChoice {
  finish_reason: string;
  token_ids?: number[];
  prompt_token_ids?: number[];
  prompt_logprobs: (Record<string, FakeLogprob> | null)[] | null;
  logprobs: { tokens: string[]; token_logprobs: number[]; top_logprobs: Record<string, number>[] } | null;
}

export interface FakeLogprob {
  logprob: number;
  rank: number;
  decoded_token: string;
}

export interface Received {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: Record<string, unknown>;
}

/** V of the fake's distribution. */
export const FAKE_VOCAB = 32;

/**
 * A teacher of `FAKE_VOCAB` ids over real HTTP, in the vLLM dialect, that misbehaves on command. Honestly, it gives id v after prefix x the probability
 * proportional to 1 / (1 + (v + sum(x)) mod V), and writes ids 5, 6, 7 and so on.
 */
export class FakeTeacher {
  readonly received: Received[] = [];
  private readonly leavers = new Set<() => void>();
  private arrived = (): void => undefined;
  private readonly script: { readonly path: string; readonly behaviour: Behaviour }[] = [];
  private readonly server = createServer((request, response) => void this.handle(request, response));

  static async start(): Promise<FakeTeacher> {
    const fake = new FakeTeacher();
    fake.server.listen(0, '127.0.0.1');
    await once(fake.server, 'listening');
    return fake;
  }

  get baseUrl(): string {
    const address = this.server.address();
    if (address === null || typeof address === 'string') throw new Error('the fake does not listen');
    return `http://127.0.0.1:${address.port}`;
  }

  /** The next request for `path` meets this behaviour; calls queue up. */
  next(path: string, behaviour: Behaviour): void {
    this.script.push({ path, behaviour });
  }

  /** Resolves when a client closes its connection before it has the whole answer. */
  hangUp(): Promise<void> {
    return new Promise((resolve) => this.leavers.add(resolve));
  }

  /** Resolves when this many requests have come in all. */
  async arrivals(count: number): Promise<void> {
    while (this.received.length < count) await new Promise<void>((resolve) => (this.arrived = resolve));
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const path = request.url ?? '';
    const text = Buffer.concat(chunks).toString('utf8');
    const body: Record<string, unknown> = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
    this.received.push({ method: request.method ?? '', path, authorization: request.headers.authorization, body });
    this.arrived();
    response.on('close', () => {
      if (!response.writableFinished) this.leavers.forEach((left) => left());
    });
    const at = this.script.findIndex((step) => step.path === path);
    const behaviour = at < 0 ? undefined : this.script.splice(at, 1)[0].behaviour;
    answer(response, behaviour, { path, body });
  }
}

interface Asked {
  readonly path: string;
  readonly body: Record<string, unknown>;
}

function answer(response: ServerResponse, behaviour: Behaviour | undefined, asked: Asked): void {
  switch (behaviour?.kind) {
    case undefined:
      return send(response, 200, JSON.stringify(honest(asked)));
    case 'changed':
      return send(response, 200, JSON.stringify(completion(asked.body, behaviour.change)));
    case 'status':
      return send(response, behaviour.status, behaviour.body, behaviour.headers);
    case 'text':
      return send(response, 200, behaviour.text);
    case 'reset':
      response.destroy();
      return;
    case 'cut':
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' });
      response.write('{"choices":', () => response.destroy());
      return;
    case 'flood':
      return flood(response);
    case 'drip':
      return drip(response);
    case 'hang':
  }
}

function send(response: ServerResponse, status: number, body: string, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(body);
}

function flood(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  const chunk = Buffer.alloc(2 ** 16, ' ');
  const more = (): void => {
    while (!response.destroyed && response.write(chunk));
  };
  response.on('drain', more);
  more();
}

function drip(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  const timer = setInterval(() => response.write(' '), 5);
  response.on('close', () => clearInterval(timer));
}

function honest({ path, body }: Asked): object {
  if (path === '/v1/models') return { object: 'list', data: [{ id: 'fake', object: 'model', owned_by: 'vllm', root: '/fake', parent: null, max_model_len: 512 }] };
  if (path === '/tokenize') return { count: 2, max_model_len: 512, tokens: [11, 12], token_strs: null };
  return completion(body, () => undefined);
}

function completion(body: Record<string, unknown>, change: (choice: FakeChoice) => void): object {
  const choice = body.prompt_logprobs === undefined ? written(body) : scored(body);
  change(choice);
  return { id: 'cmpl-1', object: 'text_completion', created: 1, model: 'fake', choices: [{ index: 0, text: '', stop_reason: null, ...choice }] };
}

function scored(body: Record<string, unknown>): FakeChoice {
  const prompt = numbers(body.prompt);
  const prompt_logprobs = prompt.map((actual, t) => {
    if (t === 0) return null;
    const kept = rankedAfter(prompt.slice(0, t)).filter(({ id, rank }) => rank <= Number(body.prompt_logprobs) || id === actual);
    return Object.fromEntries(kept.map(({ id, rank, logProb }) => [String(id), { logprob: logProb, rank, decoded_token: `<${id}>` }]));
  });
  return { finish_reason: 'length', token_ids: [5], prompt_token_ids: prompt, prompt_logprobs, logprobs: null };
}

function written(body: Record<string, unknown>): FakeChoice {
  const prompt = numbers(body.prompt);
  const stops = numbers(body.stop_token_ids);
  const ids = [5];
  while (ids.length < Number(body.max_tokens) && !stops.includes(4 + ids.length)) ids.push(5 + ids.length);
  const rows = ids.map((actual, t) => {
    const ranked = rankedAfter([...prompt, ...ids.slice(0, t)]);
    return { own: logProbOf(ranked, actual), kept: ranked.filter(({ id, rank }) => rank <= Number(body.logprobs) || id === actual) };
  });
  const logprobs = {
    tokens: ids.map((id) => `token_id:${id}`),
    token_logprobs: rows.map(({ own }) => own),
    top_logprobs: rows.map(({ kept }) => Object.fromEntries(kept.map(({ id, logProb }) => [`token_id:${id}`, logProb]))),
  };
  const finish_reason = stops.includes(4 + ids.length) ? 'stop' : 'length';
  return { finish_reason, token_ids: ids, prompt_token_ids: prompt, prompt_logprobs: null, logprobs };
}

function numbers(value: unknown): number[] {
  return Array.isArray(value) ? value.map(Number) : [];
}

export interface Ranked {
  readonly id: number;
  /** 1 for the best. */
  readonly rank: number;
  readonly logProb: number;
}

/** All ids after a prefix, best first, with their ranks and log-probs. */
export function rankedAfter(prefix: readonly number[]): Ranked[] {
  const shift = prefix.reduce((total, id) => total + id, 0);
  const weights = Array.from({ length: FAKE_VOCAB }, (_, id) => ({ id, weight: 1 / (1 + ((id + shift) % FAKE_VOCAB)) }));
  const total = weights.reduce((sum, { weight }) => sum + weight, 0);
  return weights.sort((a, b) => b.weight - a.weight).map(({ id, weight }, i) => ({ id, rank: i + 1, logProb: Math.log(weight / total) }));
}

/** The log-prob of one id among them. */
export function logProbOf(ranked: readonly Ranked[], id: number): number {
  return ranked.find((one) => one.id === id)?.logProb ?? Number.NaN;
}
