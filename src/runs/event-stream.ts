import { once } from 'node:events';
import type { ServerResponse } from 'node:http';

/** One message of a stream of server-sent events. `id` is what a client that comes back says it has seen. */
export interface ServerSentEvent {
  readonly id?: number;
  readonly event: string;
  readonly data: object;
}

/** How a stream is written. */
export interface EventStreamOptions {
  /** Between comment lines that keep the connection open; a reader that takes nothing for as long is cut off. Milliseconds. */
  readonly heartbeatMs: number;
  /** What a client is to wait before it comes back, milliseconds. */
  readonly retryMs: number;
}

/**
 * Writes events to a response until they end, waiting for the reader: no more than one event beyond the socket's own buffer is held.
 * Nothing is sent before the first event or heartbeat is due, so an error of the very first step can still be answered as one.
 */
export async function writeEvents(response: ServerResponse, events: AsyncIterable<ServerSentEvent>, { heartbeatMs, retryMs }: EventStreamOptions): Promise<void> {
  const begin = (): void => {
    if (response.headersSent) return;
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
    response.write(`retry: ${retryMs}\n\n`);
  };
  const heartbeat = setInterval(() => {
    begin();
    if (!response.writableNeedDrain) response.write(': alive\n\n');
  }, heartbeatMs);
  try {
    for await (const event of events) {
      begin();
      if (!response.write(textOf(event)) && !(await drained(response, heartbeatMs))) break;
    }
    begin();
    response.end();
  } finally {
    clearInterval(heartbeat);
  }
}

/** @returns false when the reader was cut off, or went away. */
async function drained(response: ServerResponse, ms: number): Promise<boolean> {
  try {
    await once(response, 'drain', { signal: AbortSignal.timeout(ms) });
    return true;
  } catch {
    response.destroy();
    return false;
  }
}

function textOf({ id, event, data }: ServerSentEvent): string {
  const number = id === undefined ? '' : `id: ${id}\n`;
  return `${number}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}
