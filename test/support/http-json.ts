/** An HTTP answer read as JSON; `undefined` when its body is empty. */
export interface JsonAnswer<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly json: T;
  readonly text: string;
}

/** Posts a JSON body; a string is sent as it is. */
export function postJson<T>(url: string, body: unknown, init: { readonly headers?: Record<string, string>; readonly signal?: AbortSignal } = {}): Promise<JsonAnswer<T>> {
  return read<T>(fetch(url, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body), ...init, headers: { 'content-type': 'application/json', ...init.headers } }));
}

export function getJson<T>(url: string, headers: Record<string, string> = {}): Promise<JsonAnswer<T>> {
  return read<T>(fetch(url, { headers }));
}

async function read<T>(sent: Promise<Response>): Promise<JsonAnswer<T>> {
  const response = await sent;
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.includes('json');
  return { status: response.status, headers: response.headers, json: (isJson ? JSON.parse(text) : undefined) as T, text };
}
