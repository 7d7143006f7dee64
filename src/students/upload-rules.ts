import { createHash } from 'node:crypto';
import { ModelFileRefused } from './students.errors.js';

/** A model as one file, made into a directory when it is committed. */
export const GGUF_FILE = 'model.gguf';

const MEGABYTE = 10 ** 6;
/** What a pushed model may consist of, and how large each may be where the general limit is too much. Bytes. */
const KNOWN_FILES: ReadonlyMap<string, number> = new Map([
  ['config.json', MEGABYTE],
  ['generation_config.json', MEGABYTE],
  ['tokenizer.json', 128 * MEGABYTE],
  ['tokenizer_config.json', 16 * MEGABYTE],
  ['special_tokens_map.json', MEGABYTE],
  ['chat_template.jinja', MEGABYTE],
  ['model.safetensors.index.json', 32 * MEGABYTE],
  ['README.md', MEGABYTE],
  ['model.safetensors', Infinity],
  [GGUF_FILE, Infinity],
]);
const SHARD = /^model-\d{5}-of-\d{5}\.safetensors$/;

/** Whether a pushed model may have a file of this name. */
export function isUploadable(file: string): boolean {
  return KNOWN_FILES.has(file) || SHARD.test(file);
}

/** @returns the most bytes the file may have. @throws ModelFileRefused for a file that no pushed model has. */
export function uploadLimit(file: string, maxModelFileBytes: number): number {
  if (!isUploadable(file)) {
    const known = [...KNOWN_FILES.keys(), 'model-00001-of-00002.safetensors'].join(', ');
    throw new ModelFileRefused(`${JSON.stringify(file.slice(0, 200))} is no file of a pushed model; known are ${known}`, { param: 'file' });
  }
  return Math.min(KNOWN_FILES.get(file) ?? Infinity, maxModelFileBytes);
}

/** Where files of a model wait until they are committed: the name itself never becomes a path. */
export function stagingFolder(name: string): string {
  return createHash('sha256').update(name).digest('hex').slice(0, 32);
}
