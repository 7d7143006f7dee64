import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { teacherEnvironment } from '../../src/config/teacher-settings.js';
import { compiled } from '../support/compiled.js';
import { getJson, postJson } from '../support/http-json.js';
import { writeTinyModel } from '../support/tiny-model.js';

interface Process {
  readonly child: ChildProcess;
  readonly words: () => string;
  /** The address it listens on, or its exit code. */
  readonly outcome: Promise<string | number | null>;
}

let dir: string;
let entry: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'limbeck-teacher-process-'));
  entry = await compiled('src/main.teacher.ts');
});

afterAll(async () => {
  await rm(dir, { recursive: true });
});

function start(env: Record<string, string>): Process {
  const child = fork(entry, { env, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  let words = '';
  child.stderr?.on('data', (chunk: Buffer) => (words += chunk.toString()));
  const outcome = new Promise<string | number | null>((resolve) => {
    child.once('message', (message: { readonly url: string }) => resolve(message.url));
    child.once('close', resolve);
  });
  return { child, words: () => words, outcome };
}

async function stop({ child }: Process): Promise<number | null> {
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  const [code] = (await closed) as [number | null];
  return code;
}

function childrenOf(pid: number | undefined): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
}

describe('the compiled teacher process', () => {
  it('builds the graph once, answers from its worker thread, and ends in order', async () => {
    const modelDir = await writeTinyModel(join(dir, 'tiny'));
    const env = teacherEnvironment({ modelDir, port: 0, threads: 1, modelName: 'served' });
    const first = start(env);
    const url = await first.outcome;
    expect(url, first.words()).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(first.words()).toContain('teacher.onnx is missing: building it');
    expect((await getJson<{ data: { id: string }[] }>(`${url}/v1/models`)).json.data[0].id).toBe('served');
    const ask = { prompt: [[1, 2, 3], [4, 5]], seed: 1, max_tokens: 5, ignore_eos: true, return_token_ids: true, prompt_logprobs: 2 };
    const answer = await postJson<{ choices: { token_ids: number[] }[] }>(`${url}/v1/completions`, ask);
    expect(answer.json.choices.map(({ token_ids }) => token_ids.length)).toEqual([5, 5]);
    expect(await stop(first)).toBe(0);

    const built = (await stat(join(modelDir, 'teacher.onnx'))).mtimeMs;
    const second = start(env);
    const again = await postJson<{ choices: object[] }>(`${await second.outcome}/v1/completions`, ask);
    expect(again.json.choices).toEqual(answer.json.choices);
    expect(second.words()).not.toContain('building');
    second.child.disconnect(); // as when its parent dies
    expect((await once(second.child, 'exit'))[0]).toBe(0);
    expect((await stat(join(modelDir, 'teacher.onnx'))).mtimeMs).toBe(built);

    await utimes(join(modelDir, 'model.safetensors'), new Date(), new Date(Date.now() + 60_000));
    const third = start(env);
    await third.outcome;
    expect(third.words()).toContain('teacher.onnx is older than the weights: building it');
    await stop(third);
  });

  it('serves the safetensors as they are from its native process, and ends in order', async () => {
    const modelDir = await writeTinyModel(join(dir, 'native'));
    const env = teacherEnvironment({ modelDir, runtime: 'native', port: 0, threads: 1 });
    const first = start(env);
    const url = await first.outcome;
    expect(url, first.words()).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    const ask = { prompt: [[1, 2, 3], [4, 5]], seed: 1, max_tokens: 5, ignore_eos: true, return_token_ids: true, prompt_logprobs: 2 };
    const answer = await postJson<{ choices: { token_ids: number[] }[] }>(`${url}/v1/completions`, ask);
    expect(answer.json.choices.map(({ token_ids }) => token_ids.length)).toEqual([5, 5]);
    expect(await stop(first)).toBe(0);
    expect(await readdir(modelDir)).not.toContain('teacher.onnx');

    const second = start(env);
    const again = await postJson<{ choices: object[] }>(`${await second.outcome}/v1/completions`, ask);
    expect(again.json.choices).toEqual(answer.json.choices);
    const [child] = childrenOf(second.child.pid);
    process.kill(child, 'SIGKILL');
    for (let health = 200; health !== 503; ) health = (await getJson(`${await second.outcome}/health`)).status;
    const refused = await postJson<{ error: { type: string } }>(`${await second.outcome}/v1/completions`, ask);
    expect([refused.status, refused.json.error.type]).toEqual([500, 'InternalServerError']);
    expect(await stop(second)).toBe(0);
  });

  it('takes its native process with it when it is killed', async () => {
    const modelDir = await writeTinyModel(join(dir, 'killed'));
    const server = start(teacherEnvironment({ modelDir, runtime: 'native', port: 0, threads: 1 }));
    await server.outcome;
    const [child] = childrenOf(server.child.pid);
    server.child.kill('SIGKILL');
    while (existsSync(`/proc/${child}`)) await new Promise(setImmediate);
  });

  it('says what is wrong with a model that the native runtime cannot hold', async () => {
    const modelDir = await writeTinyModel(join(dir, 'broken'));
    await rm(join(modelDir, 'model.safetensors'));
    const refused = start(teacherEnvironment({ modelDir, runtime: 'native', port: 0, threads: 1 }));
    expect(await refused.outcome).toBe(1);
    expect(refused.words()).toMatch(/teacher_server\.runtime_failed: .*model\.safetensors/);
  });

  it('refuses to start on bad settings, and says why', async () => {
    const refused = start({ LIMBECK_TEACHER_MODEL_DIR: dir, LIMBECK_TEACHER_SPEED: '9' });
    expect(await refused.outcome).toBe(1);
    expect(refused.words()).toContain('config.teacher_settings_invalid: the teacher server cannot start: LIMBECK_TEACHER_SPEED is not a setting');
  });

  it('refuses to start without a model, and says what is missing', async () => {
    const refused = start({ LIMBECK_TEACHER_MODEL_DIR: dir });
    expect(await refused.outcome).toBe(1);
    expect(refused.words()).toContain(join(dir, 'config.json'));
  });
});
