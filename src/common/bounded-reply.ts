/** What was read of a body from elsewhere; `whole` is false when it was longer than allowed, and the rest was left. */
export interface BoundedBody {
  readonly bytes: Buffer;
  readonly whole: boolean;
}

/** Reads up to `most` bytes; leaving the loop destroys a longer stream, which closes its connection. */
export async function readAtMost(body: AsyncIterable<unknown>, most: number): Promise<BoundedBody> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > most) return { bytes: Buffer.concat(chunks), whole: false };
    chunks.push(chunk);
  }
  return { bytes: Buffer.concat(chunks), whole: true };
}

/** Deepest nesting of JSON that is read from elsewhere; every format we read needs less than ten. */
export const JSON_DEPTH = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Makes a brace of a bracket, and leaves a brace as it is. */
const TO_BRACE = 0x20;
const OPENING = 0x7b;
const CLOSING = 0x7d;

/** Whether the arrays and objects of a JSON text stand in each other at most `most` deep. Of a text that is not JSON it says nothing. */
export function isAtMostDeep(json: Buffer, most = JSON_DEPTH): boolean {
  let depth = 0;
  for (let at = 0; at < json.length; at++) {
    const byte = json[at];
    if (byte === QUOTE) at = endOfString(json, at);
    else if ((byte | TO_BRACE) === OPENING) depth++;
    else if ((byte | TO_BRACE) === CLOSING) depth--;
    if (depth > most) return false;
  }
  return true;
}

function endOfString(json: Buffer, opening: number): number {
  for (let at = opening + 1; at < json.length; at++) {
    if (json[at] === BACKSLASH) at++;
    else if (json[at] === QUOTE) return at;
  }
  return json.length;
}
