import { open, type FileHandle } from 'node:fs/promises';
import { hasCode } from './atomic.js';
import { ModelFileMalformed, ModelFileMissing } from './errors.js';

/** No JSON or template file of a model directory is larger than this; the largest tokenizers known take about 35 MB. Bytes. */
const MAX_TEXT_BYTES = 256 * 1024 * 1024;

/** @returns the parsed file as an object. @throws ModelFileMissing, ModelFileMalformed (also for duplicate keys, which JSON.parse would hide). */
export async function readJsonObject(path: string): Promise<Record<string, unknown>> {
  const found = await readOptionalJsonObject(path);
  if (found === undefined) throw new ModelFileMissing(`${path} is missing; a model directory needs it`);
  return found;
}

/** As `readJsonObject`, but undefined when the file does not exist. */
export async function readOptionalJsonObject(path: string): Promise<Record<string, unknown> | undefined> {
  const text = await readOptionalText(path);
  return text === undefined ? undefined : parseJsonObject(text, path);
}

/** @returns the file as text, undefined when it does not exist. @throws ModelFileMalformed when it is not UTF-8 or absurdly large. */
export async function readOptionalText(path: string): Promise<string | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) return undefined;
    throw cause;
  }
  try {
    const { size } = await file.stat();
    if (size > MAX_TEXT_BYTES) throw new ModelFileMalformed(`${path} has ${size} bytes; at most ${MAX_TEXT_BYTES} are read`);
    return decodeUtf8(await file.readFile(), path);
  } finally {
    await file.close();
  }
}

/** @throws ModelFileMalformed naming `where`. */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new ModelFileMalformed(`${where} is not valid UTF-8`, { cause });
  }
}

/** @throws ModelFileMalformed unless `text` is a JSON object without duplicate keys at any depth. */
export function parseJsonObject(text: string, where: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ModelFileMalformed(`${where} is not valid JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  if (!isObject(value)) throw new ModelFileMalformed(`${where} must hold a JSON object`);
  const duplicate = duplicateKey(text);
  if (duplicate !== undefined) throw new ModelFileMalformed(`${where} names ${JSON.stringify(duplicate)} twice in one object; each key may stand once`);
  return value;
}

/** Whether a parsed JSON value is an object, not an array or null. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The first key that stands twice in one object of a text that is known to be valid JSON. */
function duplicateKey(json: string): string | undefined {
  const open: Set<string>[] = [];
  const token = /[{}]|"(?:[^"\\]|\\.)*"(\s*:)?/gs;
  for (let match = token.exec(json); match !== null; match = token.exec(json)) {
    const [text, colon] = match;
    if (text === '{') open.push(new Set());
    else if (text === '}') open.pop();
    else if (colon !== undefined) {
      const key = String(JSON.parse(text.slice(0, text.length - colon.length)));
      const keys = open[open.length - 1];
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}
