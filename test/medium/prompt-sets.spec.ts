import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PromptSetsModule } from '../../src/prompt-sets/prompt-sets.module.js';
import { startApi, type RunningApi } from '../support/running-api.js';

const LINE = '{"messages":[{"role":"user","content":"Wie geht es?"}],"answer":"gut"}\n';
const LIMITS = { maxFileBytes: 64 * 1024, maxLineBytes: 2048 };
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

describe('/v1/files', () => {
  let api: RunningApi;
  let key: string;
  let client: OpenAI;

  beforeAll(async () => {
    api = await startApi([PromptSetsModule], LIMITS);
    key = await api.key('files:read', 'files:write');
    client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: key, maxRetries: 0 });
  });
  afterAll(() => api.close());

  const upload = async (text: string | Uint8Array, name = 'prompts.jsonl') => client.files.create({ file: await toFile(Buffer.from(text), name), purpose: 'fine-tune' });
  const onDisk = () => (existsSync(join(api.storeDir, 'files')) ? readdirSync(join(api.storeDir, 'files')).sort() : []);
  const refusal = async (text: string | Uint8Array) => upload(text).then(() => undefined, (error: unknown) => error as InstanceType<typeof OpenAI.APIError>);
  const send = (body: FormData, headers: Record<string, string> = {}) => fetch(`${api.url}/v1/files`, { method: 'POST', body, headers: { authorization: `Bearer ${key}`, ...headers } });
  const form = (text: string, name = 'p.jsonl') => {
    const body = new FormData();
    body.append('purpose', 'fine-tune');
    body.append('file', new Blob([text]), name);
    return body;
  };

  it('takes a file from the stock client, keeps it by its digest and gives it back', async () => {
    const text = LINE + '\n' + LINE.replace('gut', 'schön');

    const file = await upload(text, 'ü ber.jsonl');

    expect(file).toMatchObject({ object: 'file', bytes: Buffer.byteLength(text), filename: 'ü ber.jsonl', purpose: 'fine-tune', status: 'processed', prompts: 2 });
    expect(file.id).toMatch(/^file-[0-9A-Za-z]{24}$/);
    expect(Math.abs(file.created_at - Date.now() / 1000)).toBeLessThan(60);
    expect(readFileSync(join(api.storeDir, 'files', sha256(text)), 'utf8')).toBe(text);
    expect(await client.files.retrieve(file.id)).toEqual(file);
    const content = await client.files.content(file.id);
    expect(await content.text()).toBe(text);
    expect(content.headers.get('content-disposition')).toBe("attachment; filename*=UTF-8''%C3%BC%20ber.jsonl");
    expect(content.headers.get('x-content-type-options')).toBe('nosniff');
    expect(await client.files.delete(file.id)).toEqual({ id: file.id, object: 'file', deleted: true });
    await expect(client.files.retrieve(file.id)).rejects.toMatchObject({ status: 404, code: 'files.unknown' });
    expect(onDisk()).toEqual([]);
  });

  it('shares the bytes of equal files and drops them with the last', async () => {
    const [first, second] = [await upload(LINE), await upload(LINE)];

    expect(first.id).not.toBe(second.id);
    expect(onDisk()).toEqual([sha256(LINE)]);
    await client.files.delete(first.id);
    expect(await (await client.files.content(second.id)).text()).toBe(LINE);
    await client.files.delete(second.id);
    expect(onDisk()).toEqual([]);
  });

  it('lists newest first, page by page, while others come in', async () => {
    const made: string[] = [];
    for (let at = 0; at < 7; at++) made.push((await upload(LINE.replace('gut', `n${at}`))).id);

    const seen: string[] = [];
    for await (const file of client.files.list({ limit: 2 })) {
      seen.push(file.id);
      if (seen.length % 2 === 0) await upload(LINE.replace('gut', `later ${seen.length}`));
    }

    expect(seen).toEqual([...made].reverse());
    const oldest = await client.files.list({ limit: 3, order: 'asc' });
    expect(oldest.data.map(({ id }) => id)).toEqual(made.slice(0, 3));
    await expect(client.files.list({ after: 'file-none' })).rejects.toMatchObject({ status: 404, code: 'files.unknown', param: 'after' });
    for await (const file of client.files.list()) await client.files.delete(file.id);
    expect(onDisk()).toEqual([]);
  });

  it('refuses a file with bad lines, names the first hundred and keeps nothing', async () => {
    const bad = Array.from({ length: 150 }, (_, at) => `{"messages":"${at}"}\n`).join('');

    const error = await refusal(`${LINE}not json\n${LINE}\n${bad}`);

    expect(error).toMatchObject({ status: 400, code: 'files.invalid_lines', param: 'file' });
    expect(error?.message).toMatch(/151 lines are no prompt: line 2: the line is not JSON.*; line 5: the line, messages: .*; line 6: .*; …$/);
    const { lines } = error?.error as { lines: { line: number; message: string }[] };
    expect(lines.map(({ line }) => line)).toEqual([2, ...Array.from({ length: 99 }, (_, at) => at + 5)]);
    expect(onDisk()).toEqual([]);
  });

  it.each<[string, string | Uint8Array, object]>([
    ['a file over the limit', LINE.repeat(2000), { status: 413, code: 'files.too_large', param: 'file' }],
    ['a line over the limit', LINE + LINE.replace('gut', 'x'.repeat(2048)), { status: 400, code: 'files.invalid_lines', error: expect.objectContaining({ lines: [{ line: 2, message: expect.stringMatching(/^has 2115 bytes; at most 2048/) }] }) }],
    ['bytes that are no text', Buffer.concat([Buffer.from(LINE), Buffer.from([0x22, 0xff, 0x22])]), { code: 'files.invalid_lines', error: expect.objectContaining({ lines: [{ line: 2, message: 'is not valid UTF-8' }] }) }],
    ['an empty file', '', { status: 400, code: 'files.upload_malformed' }],
    ['blank lines only', '\n  \n', { status: 400, code: 'files.upload_malformed' }],
  ])('refuses %s and keeps nothing', async (_what, text, error) => {
    expect(await refusal(text)).toMatchObject(error);
    expect(onDisk()).toEqual([]);
  });

  it('refuses another purpose, unknown fields, two files and no file', async () => {
    const other = form(LINE);
    other.set('purpose', 'batch');
    const more = form(LINE);
    more.append('expires_after[seconds]', '3600');
    const two = form(LINE);
    two.append('file', new Blob([LINE]), 'second.jsonl');
    const none = new FormData();
    none.append('purpose', 'fine-tune');

    const answers = await Promise.all([other, more, two, none].map(async (body) => (await send(body)).json() as Promise<{ error: { code: string; param: string | null } }>));

    expect(answers.map(({ error }) => [error.code, error.param])).toEqual([
      ['http.invalid_request', 'purpose'], ['http.invalid_request', 'expires_after'], ['http.invalid_request', null], ['files.upload_malformed', 'file'],
    ]);
    await expect.poll(onDisk).toEqual([]);
  });

  it('leaves nothing of an upload that breaks off', async () => {
    const head = '--b\r\ncontent-disposition: form-data; name="file"; filename="p.jsonl"\r\n\r\n';
    const sent = request(`${api.url}/v1/files`, { method: 'POST', headers: { authorization: `Bearer ${key}`, 'content-type': 'multipart/form-data; boundary=b', 'content-length': 100_000 } });
    sent.on('error', () => undefined);
    sent.write(head + LINE.repeat(100));
    await expect.poll(onDisk).toHaveLength(1);

    sent.destroy();

    await expect.poll(onDisk).toEqual([]);
  });

  it('answers a repeated upload with the first file', async () => {
    const headers = { 'idempotency-key': 'upload-1' };

    const [first, again] = [await send(form(LINE), headers), await send(form(LINE), headers)];
    const other = await send(form(LINE.replace('gut', 'besser')), headers);

    expect(await again.json()).toEqual(await first.json());
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(other.status).toBe(422);
    expect(onDisk()).toEqual([sha256(LINE)]);
    for await (const file of client.files.list()) await client.files.delete(file.id);
  });

  it('does not let go of a file that a job uses', async () => {
    const file = await upload(LINE);
    await api.database.query(`insert into models (name, source, architecture, parameters, bytes, files, place) values ('m', 'uploaded', 'llama', 1, 1, '[]', 'models/m')`);
    await api.database.query(`insert into teachers (id, name, dialect, base_url, model) values ('teacher-1', 't', 'vllm', 'http://127.0.0.1:1', 't')`);
    await api.database.query(
      `insert into runs (id, status, model, training_file, validation_file, teacher_id, suffix, seed, spec, spec_hash, lineage) values ('ftjob-1', 'queued', 'm', $1, $1, 'teacher-1', 's', 1, '{}', 'h', '{}')`,
      [file.id],
    );

    await expect(client.files.delete(file.id)).rejects.toMatchObject({ status: 409, code: 'files.in_use' });

    expect(onDisk()).toEqual([sha256(LINE)]);
    expect(await (await client.files.content(file.id)).text()).toBe(LINE);
  });

  it('asks for the scope of each route', async () => {
    const reader = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: await api.key('files:read'), maxRetries: 0 });

    await expect(reader.files.create({ file: await toFile(Buffer.from(LINE), 'p'), purpose: 'fine-tune' })).rejects.toMatchObject({ status: 403 });
    expect((await reader.files.list()).data).toHaveLength(1);
  });
});
