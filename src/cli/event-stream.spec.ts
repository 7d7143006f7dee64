import { describe, expect, it } from 'vitest';
import { listed } from '../../test/support/scored-batch.js';
import { readEvents } from './event-stream.js';

const TEXT = ': hello\n\nid: 7\nevent: status\ndata: {"a":1}\n\nid:8\r\ndata: one\r\ndata:two\r\n\r\ndata: é\r\rretry: 10\nevent: nothing\n\nid: 9\ndata: cut off';
const EVENTS = [
  { id: '7', event: 'status', data: '{"a":1}' },
  { id: '8', event: 'message', data: 'one\ntwo' },
  { id: '8', event: 'message', data: 'é' },
];

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

describe('readEvents', () => {
  it.each([1, 2, 3, 7, 1000])('reads the same events from pieces of %i bytes', async (size) => {
    expect(await listed(readEvents(pieces(Buffer.from(TEXT), size)))).toEqual(EVENTS);
  });
});
