import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ApiClient } from '../../src/cli/api-client.js';
import { pushFile, pushModel } from '../../src/cli/push.js';
import { FileDeleted, FileObject } from '../../src/prompt-sets/prompt-sets.schema.js';
import { PromptSetsModule } from '../../src/prompt-sets/prompt-sets.module.js';
import { ModelObject } from '../../src/students/students.schema.js';
import { StudentsModule } from '../../src/students/students.module.js';
import { CompiledInspection } from '../support/compiled-inspection.js';
import { startApi, type RunningApi } from '../support/running-api.js';
import { listed } from '../support/scored-batch.js';
import { useScratchDir } from '../support/scratch-dir.js';
import { writeTinyModel } from '../support/tiny-model.js';

const LINE = '{"messages":[{"role":"user","content":"Hi"}]}\n';

describe('ApiClient against the service', () => {
  const scratch = useScratchDir();
  let api: RunningApi;
  let client: ApiClient;

  beforeAll(async () => {
    api = await startApi([PromptSetsModule, StudentsModule, CompiledInspection]);
    client = new ApiClient({ url: api.url, key: await api.key('files:read', 'files:write', 'models:read', 'models:write') });
  });
  afterAll(async () => {
    await client.close();
    await api.close();
  });

  it('pushes a model directory, leaving out what no pushed model has', async () => {
    const dir = await writeTinyModel(scratch('tiny'));
    mkdirSync(`${dir}/onnx`);
    copyFileSync(`${dir}/config.json`, `${dir}/notes.txt`);
    const sent: string[] = [];

    const model = await pushModel(client, { dir, name: 'tiny', base: 'nothing', onFile: (file) => void sent.push(file) });

    expect(model).toMatchObject({ id: 'tiny', base: 'nothing', architecture: 'llama' });
    expect(model.files.map(({ name }) => name)).toEqual(sent);
    expect(sent).toEqual(['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']);
    await expect(pushModel(client, { dir, name: 'tiny' })).rejects.toMatchObject({ code: 'models.name_taken', kind: 'conflict' });
    await expect(pushModel(client, { dir: scratch('absent'), name: 'x' })).rejects.toMatchObject({ code: 'cli.input_unreadable' });
    await expect(pushModel(client, { dir: `${dir}/onnx`, name: 'x' })).rejects.toMatchObject({ code: 'cli.argument_invalid' });
    await expect(pushModel(client, { dir, name: '../up' })).rejects.toMatchObject({ code: 'models.name_invalid', message: expect.stringMatching(/\(request \S+\)$/) });
    expect(Buffer.concat(await listed(await client.download('/v1/models/tiny/files/config.json'))).length).toBe(model.files[0].bytes);
    expect((await listed(client.list('/v1/models?limit=1', ModelObject))).map(({ id }) => id)).toEqual(['tiny']);
  });

  it('pushes prompt files whatever they are called, and pages through them', async () => {
    for (let at = 0; at < 5; at++) {
      writeFileSync(scratch(`p "${at}" ü.jsonl`), LINE.repeat(at + 1));
      expect(await pushFile(client, scratch(`p "${at}" ü.jsonl`))).toMatchObject({ filename: `p _${at}_ ü.jsonl`, prompts: at + 1 });
    }
    const files = await listed(client.list('/v1/files?limit=2', FileObject));
    expect(files.map(({ prompts }) => prompts)).toEqual([5, 4, 3, 2, 1]);
    expect(await client.delete(`/v1/files/${files[0].id}`, FileDeleted)).toMatchObject({ deleted: true });

    writeFileSync(scratch('bad.jsonl'), 'x\n');
    await expect(pushFile(client, scratch('bad.jsonl'))).rejects.toMatchObject({ code: 'files.invalid_lines', kind: 'invalid', message: expect.stringMatching(/^file: 1 line is no prompt: line 1/) });
  });

  it('tells what went wrong: a wrong key, no service, an answer it does not know', async () => {
    const stranger = new ApiClient({ url: api.url, key: 'no key' });
    const nobody = new ApiClient({ url: 'http://127.0.0.1:9', key: 'k' });

    await expect(stranger.get('/v1/files', z.unknown())).rejects.toMatchObject({ kind: 'unauthenticated', status: 401 });
    await expect(nobody.get('/v1/files', z.unknown())).rejects.toMatchObject({ code: 'cli.api_unreachable', message: expect.stringContaining('127.0.0.1:9') });
    await expect(client.get('/v1/files', z.object({ none: z.string() }))).rejects.toMatchObject({ code: 'cli.api_answer_unknown', message: expect.stringContaining('none') });
    await expect(client.get('/v1/files', z.unknown(), AbortSignal.abort())).rejects.toMatchObject({ code: 'common.aborted' });
    await Promise.all([stranger.close(), nobody.close()]);
  });
});

describe('ApiClient.stream', () => {
  let server: Server;
  let client: ApiClient;
  const asked: (string | undefined)[] = [];

  beforeAll(async () => {
    server = createServer((request, response) => {
      asked.push(request.headers['last-event-id'] as string | undefined);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('id: 3\nevent: status\ndata: {}\n\n');
      if (request.url === '/v1/whole') response.end();
      else if (request.url === '/v1/broken') setImmediate(() => response.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    client = new ApiClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, key: 'k' });
  });
  afterAll(async () => {
    await client.close();
    server.closeAllConnections();
    server.close();
  });

  it('gives the events after the one it names, until the server ends', async () => {
    expect(await listed(client.stream('/v1/whole', { lastEventId: '2' }))).toEqual([{ id: '3', event: 'status', data: '{}' }]);
    expect(asked.at(-1)).toBe('2');
  });

  it('says that the connection broke, and stops when told', async () => {
    await expect(listed(client.stream('/v1/broken'))).rejects.toMatchObject({ code: 'cli.api_unreachable' });

    const controller = new AbortController();
    const events = client.stream('/v1/endless', { signal: controller.signal });
    expect(await events.next()).toMatchObject({ value: { id: '3' } });
    controller.abort();
    await expect(events.next()).rejects.toMatchObject({ code: 'common.aborted' });
  });
});
