import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { ModelObject } from '../students/students.schema.js';
import type { ApiClient } from './api-client.js';

/** Fetches every file of a model into `dir`, which is made. @throws ApiRefused, ApiUnreachable */
export async function downloadModel(client: ApiClient, name: string, dir: string): Promise<void> {
  const path = `/v1/models/${encodeURIComponent(name)}`;
  const { files } = await client.get(path, ModelObject);
  for (const file of files) {
    const target = join(dir, file.name);
    await mkdir(dirname(target), { recursive: true });
    await pipeline(await client.download(`${path}/files/${file.name}`), createWriteStream(target));
  }
}
