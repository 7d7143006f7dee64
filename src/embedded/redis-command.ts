import { connect } from 'node:net';

/** How one command reaches Redis. */
export interface RedisAddress {
  readonly port: number;
  readonly password: string;
  /** How long the answer may take. */
  readonly timeoutMs: number;
}

/**
 * Sends one command to a Redis on 127.0.0.1 and returns the first line of its reply, in Redis's own form (`+PONG`, `:1`, `-ERR …`). For starting, checking and
 * stopping a server; queues have their own client.
 */
export function redisCommand({ port, password, timeoutMs }: RedisAddress, ...words: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port });
    let heard = '';
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`Redis at port ${port} did not answer within ${timeoutMs} ms`)));
    socket.once('connect', () => socket.write(encode(['AUTH', password]) + encode(words)));
    socket.on('data', (chunk) => {
      heard += chunk.toString('utf8');
      const [authorised, answer] = heard.split('\r\n');
      if (heard.split('\r\n').length < 3 && !authorised.startsWith('-')) return;
      socket.end();
      resolve(authorised.startsWith('-') ? authorised : answer);
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`Redis at port ${port} closed the connection`))); // no effect once it answered
  });
}

function encode(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}
