import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { NameRefused } from '../storage/storage.errors.js';
import { openPlace } from '../storage/places.js';

/** One file of a model. */
export interface StudentFile {
  /** Relative to the model's directory, such as `onnx/model.onnx`. */
  readonly name: string;
  readonly bytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** Every file of a directory with its digest, by name; files whose name begins with a dot are no part of a model. @throws NameRefused for links and odd names. */
export async function accountOf(dir: string): Promise<StudentFile[]> {
  const files: StudentFile[] = [];
  for (const name of await namesIn(dir)) files.push(await digestOf(dir, name));
  return files.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function namesIn(root: string, folder = ''): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await readdir(`${root}/${folder}`, { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    const name = `${folder}${entry.name}`;
    if (entry.isDirectory()) names.push(...(await namesIn(root, `${name}/`)));
    else names.push(name);
  }
  return names;
}

async function digestOf(dir: string, name: string): Promise<StudentFile> {
  const file = await openPlace(dir, name);
  if (file === undefined) throw new NameRefused(`${JSON.stringify(name)} went away while it was read`);
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of file.createReadStream({ highWaterMark: 2 ** 20 }) as AsyncIterable<Buffer>) {
    hash.update(piece);
    bytes += piece.length;
  }
  return { name, bytes, sha256: hash.digest('hex') };
}
