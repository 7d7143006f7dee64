import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { StudentsModule } from '../../src/students/students.module.js';
import { StudentService } from '../../src/students/students.service.js';
import { CompiledInspection } from '../support/compiled-inspection.js';
import { tinyGguf } from '../support/gguf-llama.js';
import { startApi, type RunningApi } from '../support/running-api.js';
import { useScratchDir } from '../support/scratch-dir.js';
import { writeTinyModel } from '../support/tiny-model.js';

interface Model {
  readonly id: string;
  readonly files: { name: string; bytes: number; sha256: string }[];
}
type Failure = { error: { code: string; message: string; param: string | null } };

const PARAMETERS = 288 * 32 + 2 * (32 + 48 * 32 + 24 * 32 * 2 + 32 * 48 + 32 + 3 * 48 * 32) + 32;
const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

describe('/v1/models', () => {
  const scratch = useScratchDir();
  let api: RunningApi;
  let key: string;
  let client: OpenAI;

  beforeAll(async () => {
    api = await startApi([StudentsModule, CompiledInspection], { maxModelFileBytes: 2 ** 20, inspectModelMs: 10_000 });
    key = await api.key('models:read', 'models:write');
    client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: key, maxRetries: 0 });
  });
  afterAll(() => api.close());

  const call = (method: string, path: string, body?: string | Buffer, headers: Record<string, string> = {}) =>
    fetch(`${api.url}/v1/models${path}`, { method, body, headers: { authorization: `Bearer ${key}`, ...headers } });
  const put = (name: string, file: string, bytes: Uint8Array | string, headers: Record<string, string> = {}) =>
    call('PUT', `/${encodeURIComponent(name)}/files/${encodeURIComponent(file)}`, Buffer.from(bytes), { 'content-type': 'application/octet-stream', ...headers });
  const commit = (body: object, headers: Record<string, string> = {}) => call('POST', '', JSON.stringify(body), { 'content-type': 'application/json', ...headers });
  const push = async (name: string, dir: string) => {
    for (const file of readdirSync(dir)) expect((await put(name, file, readFileSync(join(dir, file)))).status).toBe(200);
    return commit({ id: name });
  };
  const failure = async (answer: Response | Promise<Response>) => {
    const { status } = await answer;
    const { error } = (await (await answer).json()) as Failure;
    return { status, ...error };
  };
  const tiny = () => writeTinyModel(scratch('tiny'));
  const inStore = (folder = 'models') => (existsSync(join(api.storeDir, folder)) ? readdirSync(join(api.storeDir, folder)).sort() : []);
  const modelsOnDisk = () => inStore().filter((name) => name !== '.staging');

  it('takes a model in file by file and shows it only when it is whole', async () => {
    const dir = await tiny();

    for (const file of readdirSync(dir)) {
      const staged = await put('smol', file, readFileSync(join(dir, file)));
      expect(await staged.json()).toMatchObject({ object: 'model.file', model: 'smol', name: file, sha256: sha256(readFileSync(join(dir, file))) });
    }
    expect((await client.models.list()).data).toEqual([]);
    const model = (await (await commit({ id: 'smol', base: 'HuggingFaceTB/SmolLM2-135M' })).json()) as Model;

    expect(model).toMatchObject({
      id: 'smol', object: 'model', owned_by: 'limbeck', source: 'uploaded', base: 'HuggingFaceTB/SmolLM2-135M', job_id: null, architecture: 'llama', parameters: PARAMETERS,
      bytes: readdirSync(dir).reduce((sum, file) => sum + readFileSync(join(dir, file)).length, 0),
    });
    expect(model.files).toEqual(readdirSync(dir).sort().map((name) => ({ name, bytes: readFileSync(join(dir, name)).length, sha256: sha256(readFileSync(join(dir, name))) })));
    expect(await client.models.retrieve('smol')).toEqual(model);
    expect((await client.models.list()).data).toEqual([model]);
    expect(inStore('models/.staging')).toEqual([]);
    expect(modelsOnDisk()).toHaveLength(1);
  });

  it('gives single files and the whole as an archive', async () => {
    const dir = await tiny();

    const file = await call('GET', '/smol/files/model.safetensors');
    writeFileSync(scratch('smol.tar'), Buffer.from(await (await call('GET', '/smol/archive')).arrayBuffer()));
    execFileSync('tar', ['-xf', scratch('smol.tar'), '-C', scratch()]);

    expect(Buffer.from(await file.arrayBuffer()).equals(readFileSync(join(dir, 'model.safetensors')))).toBe(true);
    expect(file.headers.get('content-disposition')).toBe('attachment; filename="model.safetensors"');
    expect(file.headers.get('x-content-type-options')).toBe('nosniff');
    for (const name of readdirSync(dir)) expect(readFileSync(scratch(join('smol', name))).equals(readFileSync(join(dir, name)))).toBe(true);
    expect(await failure(call('GET', '/smol/files/model.onnx'))).toMatchObject({ status: 404, code: 'models.file_unknown' });
    expect(await failure(call('GET', '/nobody/archive'))).toMatchObject({ status: 404, code: 'models.unknown' });
  });

  it('refuses a name that is in use, for files as for a commit, and a commit of nothing', async () => {
    expect(await failure(put('smol', 'config.json', '{}'))).toMatchObject({ status: 409, code: 'models.name_taken' });
    expect(await failure(commit({ id: 'smol' }))).toMatchObject({ status: 409, code: 'models.name_taken', param: 'id' });
    expect(await failure(commit({ id: 'nothing' }))).toMatchObject({ status: 404, code: 'models.nothing_staged', param: 'id' });
    expect(await failure(commit({ id: '../x' }))).toMatchObject({ status: 400, code: 'http.invalid_request', param: 'id' });
    expect(await failure(commit({ id: 'x', path: '/etc' }))).toMatchObject({ status: 400, param: 'path' });
  });

  it('refuses what does not fit together in the words of the reader, keeps it, and takes the mended file', async () => {
    const dir = await tiny();
    await writeTinyModel(scratch('other'), { layers: 1 });
    for (const file of readdirSync(dir)) await put('mended', file, readFileSync(join(file === 'config.json' ? scratch('other') : dir, file)));

    const refused = await failure(commit({ id: 'mended' }));

    expect(refused).toMatchObject({ status: 400, code: 'model_files.directory_invalid' });
    expect(refused.message).toMatch(/^the model holds "model\.layers\.1\.\S+", which a model of this configuration does not have$/);
    expect(modelsOnDisk()).toHaveLength(1);
    await put('mended', 'config.json', readFileSync(join(dir, 'config.json')));
    expect((await commit({ id: 'mended' })).status).toBe(200);
    expect(await client.models.delete('mended')).toEqual({ id: 'mended', object: 'model', deleted: true });
    expect(modelsOnDisk()).toHaveLength(1);
  });

  it.each<[string, string, object]>([
    ['a config that names code', 'config.json', { auto_map: { AutoModel: 'x.Model' } }],
    ['a key that no Llama config has', 'config.json', { run_this: 'curl' }],
    ['a tokenizer that names code', 'tokenizer_config.json', { auto_map: { AutoTokenizer: ['x.T', null] } }],
  ])('refuses %s', async (_what, file, change) => {
    const dir = await tiny();
    const json = JSON.parse(readFileSync(join(dir, file), 'utf8')) as object;
    writeFileSync(join(dir, file), JSON.stringify({ ...json, ...change }));

    const refused = await failure(push('coded', dir));

    expect(refused).toMatchObject({ status: 400, code: file === 'config.json' ? 'model_files.config_invalid' : 'model_files.tokenizer_invalid' });
    expect(refused.message).toContain(`${file}: ${Object.keys(change)[0]}`);
    expect(refused.message).not.toContain(api.storeDir);
  });

  it('gives up on a chat template that never ends, and goes on answering meanwhile', async () => {
    const dir = await tiny();
    const loop = '{% for a in range(30000) %}{% for b in range(30000) %}{% endfor %}{% endfor %}';
    writeFileSync(join(dir, 'chat_template.jinja'), loop);

    const refused = failure(push('endless', dir));
    await expect.poll(() => inStore('models/.staging').some((name) => name.startsWith('model-'))).toBe(true);

    expect((await client.models.list()).data).toHaveLength(1);
    expect(await refused).toMatchObject({ status: 400, code: 'models.inspection_failed', message: expect.stringMatching(/longer than 10000 ms/) });
    expect(modelsOnDisk()).toHaveLength(1);
  });

  it.each<[string, string, string, object]>([
    ['a pickle', 'pytorch_model.bin', 'x', { status: 400, code: 'models.file_refused', param: 'file' }],
    ['code', 'modeling_llama.py', 'x', { code: 'models.file_refused' }],
    ['a way out', '../../secret', 'x', { code: 'models.file_refused' }],
    ['a hidden file', '.config.json', 'x', { code: 'models.file_refused' }],
    ['a config beyond a megabyte', 'config.json', ' '.repeat(1_000_001), { status: 413, code: 'models.file_too_large' }],
    ['weights beyond the limit', 'model.safetensors', ' '.repeat(2 ** 20 + 1), { status: 413, code: 'models.file_too_large' }],
  ])('refuses %s and keeps nothing', async (_what, file, bytes, error) => {
    expect(await failure(put('bad', file, bytes))).toMatchObject(error);
    expect(await failure(commit({ id: 'bad' }))).toMatchObject({ status: expect.any(Number) });
    expect(modelsOnDisk()).toHaveLength(1);
  });

  it('holds a file to the digest it came with', async () => {
    const digest = (text: string) => `sha-256=:${createHash('sha256').update(text).digest('base64')}:`;

    expect((await put('sums', 'README.md', 'a', { 'x-checksum-sha256': sha256('a') })).status).toBe(200);
    expect((await put('sums', 'README.md', 'a', { 'content-digest': digest('a') })).status).toBe(200);
    expect(await failure(put('sums', 'README.md', 'a', { 'x-checksum-sha256': sha256('b') }))).toMatchObject({ status: 400, code: 'models.checksum_mismatch' });
    expect(await failure(put('sums', 'README.md', 'a', { 'content-digest': digest('b') }))).toMatchObject({ code: 'models.checksum_mismatch' });
    expect(await failure(put('sums', 'README.md', 'a', { 'x-checksum-sha256': 'zz' }))).toMatchObject({ code: 'models.checksum_mismatch' });
    expect(await failure(put('sums', 'config.json', '{}', { 'content-type': 'application/json' }))).toMatchObject({ code: 'models.upload_type' });
    expect(await failure(put('sums', 'config.json', '{}', { 'content-encoding': 'gzip' }))).toMatchObject({ code: 'models.upload_type' });
  });

  it('leaves nothing of a file that breaks off', async () => {
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/octet-stream', 'content-length': 100_000 };
    const partial = () => inStore('models/.staging').flatMap((folder) => inStore(`models/.staging/${folder}`)).filter((file) => file.startsWith('.'));
    const sent = request(`${api.url}/v1/models/broken/files/model.safetensors`, { method: 'PUT', headers });
    sent.on('error', () => undefined);
    sent.write('x'.repeat(50_000));
    await expect.poll(partial).toHaveLength(1);

    sent.destroy();

    await expect.poll(partial).toEqual([]);
  });

  it('imports a GGUF file, and refuses one that is cut off or stands beside other weights', async () => {
    const bytes = tinyGguf();
    await put('ggml', 'model.gguf', bytes.subarray(0, bytes.length - 40));
    expect(await failure(commit({ id: 'ggml' }))).toMatchObject({ status: 400, code: 'model_files.gguf_invalid', message: expect.stringMatching(/^model\.gguf, byte .*Is it cut off\?$/) });
    await put('ggml', 'model.gguf', bytes);
    await put('ggml', 'config.json', '{}');
    expect(await failure(commit({ id: 'ggml' }))).toMatchObject({ status: 400, code: 'models.file_refused' });

    await put('ggml-2', 'model.gguf', bytes);
    const model = (await (await commit({ id: 'ggml-2' })).json()) as Model;

    expect(model).toMatchObject({ id: 'ggml-2', architecture: 'llama' });
    expect(model.files.map(({ name }) => name)).toContain('model.safetensors');
    expect(model.files.map(({ name }) => name)).not.toContain('model.gguf');
    await client.models.delete('ggml-2');
  });

  it('answers a repeated commit with the first model', async () => {
    const dir = await tiny();
    for (const file of readdirSync(dir)) await put('twice', file, readFileSync(join(dir, file)));
    const headers = { 'idempotency-key': 'commit-1' };

    const [first, again] = [await commit({ id: 'twice' }, headers), await commit({ id: 'twice' }, headers)];

    expect(first.status).toBe(200);
    expect(await again.json()).toEqual(await first.json());
    expect(await failure(commit({ id: 'twice' }))).toMatchObject({ status: 409, code: 'models.name_taken' });
    await client.models.delete('twice');
  });

  it('makes one model of two commits at once', async () => {
    const dir = await tiny();
    for (const file of readdirSync(dir)) await put('race', file, readFileSync(join(dir, file)));

    const answers = await Promise.all([1, 2, 3, 4].map(() => commit({ id: 'race' })));

    expect(answers.map(({ status }) => status).sort()).toEqual([200, expect.any(Number), expect.any(Number), expect.any(Number)]);
    expect(answers.filter(({ ok }) => ok)).toHaveLength(1);
    await client.models.delete('race');
    expect(modelsOnDisk()).toHaveLength(1);
  });

  it('does not let go of a model that a job uses, and pages', async () => {
    await api.database.query(`insert into teachers (id, name, dialect, base_url, model) values ('teacher-1', 't', 'vllm', 'http://127.0.0.1:1', 't')`);
    await api.database.query(`insert into files (id, filename, purpose, bytes, sha256, prompts, place) values ('file-1', 'f', 'fine-tune', 1, 'x', 1, 'files/x')`);
    await api.database.query(
      `insert into runs (id, status, model, training_file, validation_file, teacher_id, suffix, seed, spec, spec_hash, lineage) values ('ftjob-1', 'queued', 'smol', 'file-1', 'file-1', 'teacher-1', 's', 1, '{}', 'h', '{}')`,
    );
    expect(await failure(call('DELETE', '/smol'))).toMatchObject({ status: 409, code: 'models.in_use' });
    expect((await call('GET', '/smol/files/config.json')).status).toBe(200);
    expect((await push('newer', await tiny())).status).toBe(200);

    expect(await (await call('GET', '?limit=1')).json()).toMatchObject({ data: [{ id: 'newer' }], has_more: true, last_id: 'newer' });
    expect(await (await call('GET', '?limit=1&after=newer')).json()).toMatchObject({ data: [{ id: 'smol' }], has_more: false });
    await client.models.delete('newer');
  });

  it('adopts the student of a run, which then outlives the run\'s files', async () => {
    const students = new StudentService(api.database, { storeDir: api.storeDir });
    const dir = await writeTinyModel(join(api.storeDir, 'runs/ftjob-1/student'));
    mkdirSync(join(dir, 'onnx'));
    writeFileSync(join(dir, 'onnx/model.onnx'), 'onnx');

    const student = await students.place(dir);
    const name = await api.database.transaction(async (tx) => {
      const free = await students.freeName(tx, 'Smol');
      await students.adopt(tx, { name: free, base: 'smol', runId: 'ftjob-1', student });
      return free;
    });

    expect(name).toBe('smol-2');
    execFileSync('rm', ['-r', join(api.storeDir, 'runs')]);
    expect(await client.models.retrieve('smol-2')).toMatchObject({ source: 'distilled', base: 'smol', job_id: 'ftjob-1', parameters: PARAMETERS });
    expect(await (await call('GET', '/smol-2/files/onnx/model.onnx')).text()).toBe('onnx');
    expect(await (await call('GET', '/smol-2/files/onnx%2Fmodel.onnx')).text()).toBe('onnx');
    expect(readdirSync(await students.directory('smol-2'))).toContain('config.json');
    await expect(api.database.transaction((tx) => students.adopt(tx, { name, base: null, runId: null, student: { ...student, place: 'models/model-x' } }))).rejects.toMatchObject({ code: 'models.name_taken' });
    await students.remove('smol-2');
    expect(modelsOnDisk()).toHaveLength(1);
  });
});
