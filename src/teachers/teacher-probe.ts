import { request, type Dispatcher } from 'undici';
import { z } from 'zod';
import { isAtMostDeep, readAtMost } from '../common/bounded-reply.js';
import { EgressRefused } from '../http/egress.errors.js';
import type { TeacherProbe } from './teacher.schema.js';

/** Where to look, and how long. */
export interface ProbeTarget {
  readonly baseUrl: string;
  readonly model: string;
  readonly apiKey?: string;
  /** Reaches the teacher's origin alone. */
  readonly dispatcher: Dispatcher;
  /** For the whole look, milliseconds. */
  readonly withinMs: number;
}

export type ProbeResult = Omit<TeacherProbe, 'checked_at'>;

/** A list of models is a few hundred bytes each. */
const MOST_BYTES = 2 ** 20;
const Models = z.object({ data: z.array(z.object({ id: z.string() })) });

/** Asks a teacher once which models it serves. Nothing that it sends is passed on: whoever may register addresses shall not read what answers there. */
export async function probeTeacher(target: ProbeTarget): Promise<ProbeResult> {
  try {
    return await look(target);
  } catch (error) {
    return failureOf(error);
  }
}

async function look({ baseUrl, model, apiKey, dispatcher, withinMs }: ProbeTarget): Promise<ProbeResult> {
  const { statusCode: http_status, headers, body } = await request(`${baseUrl}/v1/models`, {
    dispatcher,
    headers: { accept: 'application/json', 'accept-encoding': 'identity', ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }) },
    signal: AbortSignal.timeout(withinMs),
  });
  if (http_status !== 200) {
    body.on('error', () => undefined).destroy();
    return judge(http_status);
  }
  const encoding = headers['content-encoding'] ?? 'identity';
  const { bytes, whole } = await readAtMost(body, MOST_BYTES);
  const served = whole && encoding === 'identity' ? modelsIn(bytes) : undefined;
  if (!served) return { status: 'refused', http_status, reason: 'answer_invalid' };
  return { status: served.includes(model) ? 'ok' : 'model_missing', http_status };
}

function judge(http_status: number): ProbeResult {
  if (http_status >= 300 && http_status < 400) return { status: 'refused', http_status, reason: 'redirect' };
  return { status: http_status === 429 || http_status >= 500 ? 'unreachable' : 'refused', http_status };
}

function modelsIn(bytes: Buffer): string[] | undefined {
  if (!isAtMostDeep(bytes)) return undefined;
  try {
    const parsed = Models.safeParse(JSON.parse(bytes.toString('utf8')));
    return parsed.data?.data.map(({ id }) => id);
  } catch {
    return undefined; // not JSON
  }
}

const REASONS: readonly (readonly [RegExp, ProbeResult['reason']])[] = [
  [/^(ENOTFOUND|EAI_)/, 'name_unknown'],
  [/^ECONNREFUSED$/, 'connection_refused'],
  [/^(ERR_TLS|ERR_SSL|EPROTO|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_)/, 'tls'],
  [/TIMEOUT|^ETIMEDOUT$|^TimeoutError$/, 'timeout'],
];

function failureOf(error: unknown): ProbeResult {
  if (error instanceof EgressRefused) return { status: 'refused', reason: 'outbound_policy' };
  const code = error instanceof Error ? ('code' in error && typeof error.code === 'string' ? error.code : error.name) : '';
  return { status: 'unreachable', reason: REASONS.find(([pattern]) => pattern.test(code))?.[1] ?? 'connection_failed' };
}
