import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { writeEvents, type ServerSentEvent } from './event-stream.js';

const HEARTBEAT_MS = 50;
let server: Server;
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

/** Serves the events. @returns the port, and how the writing of the first stream ended. */
async function serve(events: AsyncIterable<ServerSentEvent>): Promise<{ readonly port: number; readonly written: Promise<unknown> }> {
  let end: (outcome: unknown) => void;
  const written = new Promise((resolve) => (end = resolve));
  server = createServer((_, response) => {
    writeEvents(response, events, { heartbeatMs: HEARTBEAT_MS, retryMs: 700 }).then(end, (error: unknown) => {
      end(error);
      response.writeHead(404).end();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, written };
}

async function textOf(port: number): Promise<{ readonly status: number | undefined; readonly text: string }> {
  const [response] = (await once(get({ port, host: '127.0.0.1' }), 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode, text };
}

async function* some(...events: ServerSentEvent[]): AsyncGenerator<ServerSentEvent> {
  yield* events;
}

describe('writeEvents', () => {
  it('writes events with their numbers, after a hint when to come back', async () => {
    const { port } = await serve(some({ id: 7, event: 'status', data: { status: 'a\nb' } }, { event: 'done', data: {} }));
    expect(await textOf(port)).toEqual({ status: 200, text: 'retry: 700\n\nid: 7\nevent: status\ndata: {"status":"a\\nb"}\n\nevent: done\ndata: {}\n\n' });
  });

  it('gives signs of life while nothing happens', async () => {
    let proceed = (): void => undefined;
    const waited = new Promise<void>((resolve) => (proceed = resolve));
    const { port } = await serve(
      (async function* () {
        await waited;
        yield { event: 'done', data: {} };
      })(),
    );
    const [response] = (await once(get({ port, host: '127.0.0.1' }), 'response')) as [IncomingMessage];
    let text = '';
    for await (const chunk of response) {
      text += String(chunk);
      if (text.split(': alive').length > 2) proceed();
    }
    expect(text).toMatch(/^retry: 700\n\n(: alive\n\n){2,}event: done\ndata: \{\}\n\n$/);
  });

  it('lets an error before the first event be answered as one', async () => {
    const { port, written } = await serve(
      (async function* (): AsyncGenerator<ServerSentEvent> {
        throw new Error('no such job');
      })(),
    );
    expect(await textOf(port)).toEqual({ status: 404, text: '' });
    expect(await written).toMatchObject({ message: 'no such job' });
  });

  it('cuts off a reader that takes nothing, and asks for no more events', async () => {
    const big = 'x'.repeat(1_000_000);
    let asked = 0;
    let isEnded = false;
    const { port, written } = await serve(
      (async function* () {
        try {
          for (;;) yield { id: ++asked, event: 'event', data: { big } };
        } finally {
          isEnded = true;
        }
      })(),
    );
    const reader = connect(port, '127.0.0.1').pause();
    reader.on('error', () => undefined).write('GET / HTTP/1.1\r\nhost: limbeck\r\n\r\n');
    expect(await written).toBeUndefined();
    expect(isEnded).toBe(true);
    expect(asked).toBeLessThan(50); // what the kernel's buffers hold, and one more
    reader.destroy();
  });
});
