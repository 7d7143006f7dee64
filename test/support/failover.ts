/** A `fetch` that goes to another base URL when one fails, and stays with it; and what it met. */
export interface Failover {
  readonly fetch: typeof fetch;
  /** The base URL that is asked first now. */
  current(): string;
  /** How often it went to another. */
  failovers(): number;
}

/**
 * An answer counts once its body is there, but for streams of events: those are the caller's to take up again.
 * @param urls such as `http://127.0.0.1:8080`, each serving the same; requests are made to the first.
 * @param onWay called with an answer's request before the answer is delivered; when it throws, the answer is lost.
 */
export function failover(urls: readonly [string, ...string[]], onWay: (init: RequestInit | undefined) => Promise<void> = async () => undefined): Failover {
  let current = 0;
  let moved = 0;
  const go = async (input: string, init?: RequestInit): Promise<Response> => {
    let failure: unknown;
    for (let tries = 0; tries < urls.length; tries++) {
      const asked = current;
      try {
        const answer = await whole(await fetch(input.replace(urls[0], urls[asked]), init));
        await onWay(init);
        return answer;
      } catch (error) {
        failure = error;
        if (asked !== current) continue; // another request has found out before
        current = (asked + 1) % urls.length;
        moved++;
      }
    }
    throw failure;
  };
  return { fetch: (input, init) => go(input instanceof Request ? input.url : String(input), init), current: () => urls[current], failovers: () => moved };
}

async function whole(answer: Response): Promise<Response> {
  if (answer.headers.get('content-type')?.startsWith('text/event-stream')) return answer;
  const { status, statusText, headers } = answer;
  return new Response(await answer.arrayBuffer(), { status, statusText, headers });
}
