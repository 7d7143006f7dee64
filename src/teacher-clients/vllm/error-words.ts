import { z } from 'zod';

/** What a server says is wrong. `param` names the request's field, where the server does. */
export interface ErrorWords {
  readonly message: string;
  readonly param?: string;
}

const Detail = z.object({ message: z.string(), param: z.string().nullish() });
const ErrorBody = z.union([
  z.object({ error: Detail }).transform(({ error }) => error),
  z.object({ error: z.string() }).transform(({ error }) => ({ message: error, param: undefined })),
  Detail,
  z.object({ detail: z.string() }).transform(({ detail }) => ({ message: detail, param: undefined })),
]);

/** Longest text that is quoted from a body of unknown form, in characters. */
const QUOTE = 200;

/** Reads the server's own words: nested (vLLM since 0.10.1), a string (its 401), flat (before), `detail` (FastAPI), else the body's beginning. */
export function errorWords(body: string): ErrorWords {
  const parsed = ErrorBody.safeParse(parseJson(body));
  if (!parsed.success) return { message: quote(body) };
  const { message, param } = parsed.data;
  return { message: message.slice(0, 5 * QUOTE), ...(param ? { param } : {}) };
}

/** The beginning of a text that was expected to be something else. */
export function quote(body: string): string {
  const text = body.trim().replace(/\s+/g, ' ');
  if (text === '') return 'an empty body';
  return text.length > QUOTE ? `${text.slice(0, QUOTE)}…` : text;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
