import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, connect, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify as toYaml } from 'yaml';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ApiClient } from '../../src/cli/api-client.js';
import { buildProgram } from '../../src/cli/program.js';
import { succeeded, watchJob } from '../../src/cli/watch.js';
import type { RunEvent } from '../../src/distillation/events.js';
import { RunFeed, type FeedEntry } from '../../src/runs/run-feed.service.js';
import { Job } from '../../src/runs/runs.schema.js';
import { registerInputs } from '../support/job-inputs.js';
import { startWholeApi, type WholeApi } from '../support/whole-api.js';

const feed = new RunFeed();
let api: WholeApi;
let key: string;
let dir: string;
let body: Awaited<ReturnType<typeof registerInputs>>;

beforeAll(async () => {
  api = await startWholeApi();
  key = await api.key('jobs:read', 'jobs:write', 'files:read', 'files:write');
  body = await registerInputs(api.database);
  dir = await mkdtemp(join(tmpdir(), 'limbeck-test-'));
});
afterAll(async () => {
  await api.close();
  await rm(dir, { recursive: true });
});

const tell = (id: string, entry: FeedEntry): Promise<number> => api.database.transaction((tx) => feed.tell(tx, id, entry));
const end = (id: string): Promise<unknown> => api.database.transaction((tx) => feed.move(tx, id, { to: 'failed', error: { code: 'teachers.gone', message: 'no answer', param: null }, event: { type: 'job.failed', level: 'error', message: 'collect failed' } }));

/** Runs a command. @returns what it wrote to standard output. */
async function limbeck(...words: string[]): Promise<string> {
  const written = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  try {
    await (await buildProgram(words[0])).parseAsync([...words, '--api', api.url, '--key', key], { from: 'user' });
    return written.mock.calls.map(([text]) => String(text)).join('');
  } finally {
    written.mockRestore();
  }
}

describe('watchJob', () => {
  it('shows a job to its end, across a connection that breaks', async () => {
    const { sockets, proxy, port } = await startProxy();
    const client = new ApiClient({ url: `http://127.0.0.1:${port}`, key });
    const { id } = await client.post('/v1/fine_tuning/jobs', body, Job);
    const shown: RunEvent[] = [];
    const seen = (count: number): Promise<void> => vi.waitFor(() => expect(shown).toHaveLength(count), { timeout: 30_000, interval: 10 });

    const watched = watchJob(client, id, { show: (event) => shown.push(event), close: () => undefined }, new AbortController().signal);
    await tell(id, { kind: 'event', type: 'stage.started', message: '', data: { stage: 'collect' } });
    await seen(1);
    for (const socket of sockets) socket.destroy();
    await tell(id, { kind: 'event', type: 'warning', level: 'warn', message: 'while away' });
    await seen(2);
    await end(id);

    const job = await watched;
    expect(shown).toEqual([{ kind: 'stage_started', stage: 'collect', label: 'collect' }, { kind: 'warning', message: 'while away' }]);
    expect(() => succeeded(job)).toThrowError(expect.objectContaining({ code: 'teachers.gone', message: expect.stringContaining('no answer') }));
    await client.close();
    proxy.close();
  });

  it('leaves the job alone when it is stopped', async () => {
    const client = new ApiClient({ url: api.url, key });
    const { id } = await client.post('/v1/fine_tuning/jobs', body, Job);
    const stop = new AbortController();
    const watched = watchJob(client, id, { show: () => stop.abort(), close: () => undefined }, stop.signal);
    await tell(id, { kind: 'event', type: 'stage.started', message: '', data: { stage: 'collect' } });
    await expect(watched).rejects.toMatchObject({ code: 'common.aborted' });
    expect((await client.get(`/v1/fine_tuning/jobs/${id}`, Job)).status).toBe('validating_files');
    await client.close();
  });
});

describe('the commands of jobs', () => {
  it('submit a job file, sending the prompt files that it names by path', async () => {
    const line = `${JSON.stringify({ messages: [{ role: 'user', content: 'What is a limbeck?' }] })}\n`;
    await writeFile(join(dir, 'train.jsonl'), line.repeat(3));
    await writeFile(join(dir, 'job.yaml'), toYaml({ ...body, training_file: './train.jsonl' }));
    const id = (await limbeck('submit', join(dir, 'job.yaml'))).trim();
    const [row] = await api.database.query<{ prompts: number; validation_file: string }>('select f.prompts, r.validation_file from runs r join files f on f.id = r.training_file where r.id = $1', [id]);
    expect(row).toEqual({ prompts: 3, validation_file: 'file-held' });
  });

  it('list, cancel, and say why an order is refused', async () => {
    await writeFile(join(dir, 'job.yaml'), toYaml(body));
    const id = (await limbeck('submit', join(dir, 'job.yaml'))).trim();
    expect((await limbeck('jobs', 'list', '--limit', '1')).trim()).toMatch(new RegExp(`^${id}  \\S+Z  validating_files  small`));
    await expect(limbeck('jobs', 'pause', id)).rejects.toMatchObject({ code: 'jobs.not_pausable' });
    expect(await limbeck('jobs', 'cancel', id)).toBe('cancelled\n');
    await expect(limbeck('jobs', 'resume', id)).rejects.toMatchObject({ code: 'jobs.not_paused' });
    await expect(limbeck('watch', id)).rejects.toMatchObject({ code: 'jobs.cancelled' });
  });

  it('refuse a job file that is none', async () => {
    await writeFile(join(dir, 'bad.yaml'), 'model: small\n');
    await expect(limbeck('submit', join(dir, 'bad.yaml'))).rejects.toMatchObject({ code: 'cli.argument_invalid', message: expect.stringContaining('training_file') });
    await expect(limbeck('submit', join(dir, 'none.yaml'))).rejects.toMatchObject({ code: 'cli.input_unreadable' });
  });
});

/** Passes bytes on to the API, so that connections can be cut. */
async function startProxy(): Promise<{ readonly proxy: Server; readonly sockets: Set<Socket>; readonly port: number }> {
  const sockets = new Set<Socket>();
  const proxy = createServer((near) => {
    const far = connect(Number(new URL(api.url).port), '127.0.0.1');
    sockets.add(near);
    near.on('error', () => undefined).on('close', () => far.destroy());
    far.on('error', () => undefined).on('close', () => near.destroy());
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const address = proxy.address();
  return { proxy, sockets, port: typeof address === 'object' && address ? address.port : 0 };
}
