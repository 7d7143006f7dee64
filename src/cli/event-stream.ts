/** One event of a stream of server-sent events. */
export interface ServerEvent {
  /** What to give as the last event's id to go on after it; undefined when none was sent yet. */
  readonly id: string | undefined;
  /** `message` where the server names none. */
  readonly event: string;
  readonly data: string;
}

/** Reads server-sent events (WHATWG HTML, section 9.2.6); comments and a last event that was cut off are dropped. */
export async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent> {
  let id: string | undefined;
  let event = '';
  let data: string[] = [];
  for await (const line of readLines(body)) {
    if (line === '') {
      if (data.length > 0) yield { id, event: event || 'message', data: data.join('\n') };
      event = '';
      data = [];
      continue;
    }
    const { field, value } = split(line);
    if (field === 'data') data.push(value);
    else if (field === 'event') event = value;
    else if (field === 'id' && !value.includes('\0')) id = value;
  }
}

function split(line: string): { field: string; value: string } {
  const colon = line.indexOf(':');
  if (colon === -1) return { field: line, value: '' };
  return { field: line.slice(0, colon), value: line.slice(colon + 1).replace(/^ /, '') };
}

/** Lines end in LF, CR or CRLF, wherever the pieces are cut. A last line without an end is dropped. */
async function* readLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8');
  let held = '';
  for await (const piece of body) {
    held += decoder.decode(piece, { stream: true });
    const heldBack = held.endsWith('\r') ? '\r' : ''; // an LF that belongs to it may follow in the next piece
    const lines = held.slice(0, held.length - heldBack.length).split(/\r\n|\r|\n/);
    held = (lines.pop() ?? '') + heldBack;
    yield* lines;
  }
}
