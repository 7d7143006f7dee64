import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { FileObject } from '../prompt-sets/prompt-sets.schema.js';
import { ModelObject, StagedFile } from '../students/students.schema.js';
import { isUploadable } from '../students/upload-rules.js';
import type { ApiClient } from './api-client.js';
import { ArgumentInvalid, InputUnreadable } from './failure.js';

/** What of a model directory goes to the service. */
export interface ModelPush {
  readonly dir: string;
  readonly name: string;
  readonly base?: string;
  /** Told before each file. */
  readonly onFile?: (file: string, bytes: number) => void;
}

/** Sends a model directory file by file and commits it. Files that a model does not need for training, such as ONNX, stay here. @throws AppError */
export async function pushModel(client: ApiClient, { dir, name, base, onFile }: ModelPush): Promise<ModelObject> {
  const files = (await readable(() => readdir(dir), dir)).filter(isUploadable).sort();
  if (files.length === 0) throw new ArgumentInvalid(`${dir} holds no file of a model; it should hold config.json, model.safetensors, tokenizer.json and the like`);
  for (const file of files) {
    const path = join(dir, file);
    const { size: bytes } = await readable(() => stat(path), path);
    onFile?.(file, bytes);
    const staged = await client.send('PUT', `/v1/models/${encodeURIComponent(name)}/files/${file}`, { type: 'application/octet-stream', bytes, stream: createReadStream(path) }, StagedFile);
    if (staged.sha256 !== (await sha256Of(path))) throw new InputUnreadable(`${path} changed while it was sent; send it again`);
  }
  return client.post('/v1/models', { id: name, base }, ModelObject);
}

/** Sends a prompt file. @throws AppError */
export async function pushFile(client: ApiClient, path: string): Promise<FileObject> {
  const { size } = await readable(() => stat(path), path);
  const boundary = `limbeck-${randomUUID()}`;
  const name = basename(path).replace(/["\r\n]/g, '_'); // what would end the header
  const head = Buffer.from(
    `--${boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n` +
      `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="${name}"\r\ncontent-type: application/jsonl\r\n\r\n`,
  );
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  const stream = Readable.from(parts(), { objectMode: false });
  return client.send('POST', '/v1/files', { type: `multipart/form-data; boundary=${boundary}`, bytes: head.length + size + tail.length, stream }, FileObject);

  async function* parts(): AsyncGenerator<Uint8Array> {
    yield head;
    yield* createReadStream(path) as AsyncIterable<Uint8Array>;
    yield tail;
  }
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path) as AsyncIterable<Uint8Array>) hash.update(piece);
  return hash.digest('hex');
}

async function readable<Value>(read: () => Promise<Value>, path: string): Promise<Value> {
  try {
    return await read();
  } catch (cause) {
    throw new InputUnreadable(`${path} cannot be read (${cause instanceof Error ? cause.message : String(cause)}); check the path and its permissions`, { cause });
  }
}
