import { open, type FileHandle } from 'node:fs/promises';
import { hasCode, writeFileAtomic } from './atomic.js';
import { ModelFileMalformed, ModelFileMissing } from './errors.js';

/** What transformers follows to code beside the weights. */
const CODE_KEYS = ['auto_map', 'custom_pipelines', 'trust_remote_code'];
/** No JSON or template file of a model directory is larger than this; the largest tokenizers known take about 35 MB. Bytes. */
const MAX_TEXT_BYTES = 256 * 1024 * 1024;

/** @returns the parsed file as an object. @throws ModelFileMissing, ModelFileMalformed (also for duplicate keys, which JSON.parse would hide, and beyond `maxBytes`). */
export async function readJsonObject(path: string, maxBytes = MAX_TEXT_BYTES): Promise<Record<string, unknown>> {
  const found = await readOptionalJsonObject(path, maxBytes);
  if (found === undefined) throw new ModelFileMissing(`${path} is missing; a model directory needs it`);
  return found;
}

/** As `readJsonObject`, but undefined when the file does not exist. */
export async function readOptionalJsonObject(path: string, maxBytes = MAX_TEXT_BYTES): Promise<Record<string, unknown> | undefined> {
  const text = await readOptionalText(path, maxBytes);
  return text === undefined ? undefined : parseJsonObject(text, path);
}

/** @returns the file as text, undefined when it does not exist. @throws ModelFileMalformed when it is not UTF-8 or larger than `maxBytes`. */
export async function readOptionalText(path: string, maxBytes = MAX_TEXT_BYTES): Promise<string | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) return undefined;
    throw cause;
  }
  try {
    const { size } = await file.stat();
    if (size > maxBytes) throw new ModelFileMalformed(`${path} has ${size} bytes; at most ${maxBytes} are read`);
    return decodeUtf8(await file.readFile(), path);
  } finally {
    await file.close();
  }
}

/** Writes the value for people to read, whole or not at all. @throws ModelDiskFull */
export async function writeJson(path: string, value: object): Promise<void> {
  await writeFileAtomic(path, new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`));
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

/** The key by which a configuration asks for code that comes with the model, undefined when it asks for none. */
export function codeKeyOf(json: Record<string, unknown>): string | undefined {
  return CODE_KEYS.find((key) => Object.hasOwn(json, key));
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
