import OpenAI, { toFile } from 'openai';
import type { FineTuningJob, JobCreateParams } from 'openai/resources/fine-tuning/jobs/jobs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RunFeed } from '../../../src/runs/run-feed.service.js';
import { registerInputs } from '../../support/job-inputs.js';
import { startWholeApi, type WholeApi } from '../../support/whole-api.js';

let api: WholeApi;
let client: OpenAI;
let trainingFile: string;
let validationFile: string;

beforeAll(async () => {
  api = await startWholeApi();
  await registerInputs(api.database);
  const apiKey = await api.key('jobs:read', 'jobs:write', 'files:read', 'files:write');
  client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey, maxRetries: 0 });
});
afterAll(() => api.close());

/** The client's types do not know distillations; what it sends is what it is given. */
function distillation(fields: { readonly metadata?: Record<string, string> } = {}): JobCreateParams {
  return {
    model: 'small',
    training_file: trainingFile,
    validation_file: validationFile,
    method: { type: 'distillation', distillation: { teacher: 'teacher-1' } },
    ...fields,
  } as unknown as JobCreateParams;
}

const create = (fields?: { readonly metadata?: Record<string, string> }): Promise<FineTuningJob> => client.fineTuning.jobs.create(distillation(fields));
const feed = new RunFeed();

/** What a worker does to a job that it validated. */
async function queued(id: string): Promise<void> {
  await api.database.query(`update stages set status = case name when 'validate' then 'succeeded' when 'collect' then 'waiting' else status end where run_id = $1`, [id]);
  await api.database.transaction((tx) => feed.move(tx, id, { to: 'queued', event: { type: 'job.validated', message: 'all checks passed' } }));
}

async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe('the stock OpenAI client', () => {
  it('uploads prompt files', async () => {
    const line = `${JSON.stringify({ messages: [{ role: 'user', content: 'What is a limbeck?' }] })}\n`;
    const training = await client.files.create({ file: await toFile(Buffer.from(line.repeat(3)), 'train.jsonl'), purpose: 'fine-tune' });
    const validation = await client.files.create({ file: await toFile(Buffer.from(line), 'held.jsonl'), purpose: 'fine-tune' });
    trainingFile = training.id;
    validationFile = validation.id;
    expect([trainingFile, validationFile]).toEqual([expect.stringMatching(/^file-/), expect.stringMatching(/^file-/)]);
  });

  it('creates and retrieves a distillation', async () => {
    const job = await create({ metadata: { night: '1' } });
    expect(job).toMatchObject({ object: 'fine_tuning.job', status: 'validating_files', model: 'small', training_file: trainingFile, validation_file: validationFile, metadata: { night: '1' } });
    expect((await client.fineTuning.jobs.retrieve(job.id)).id).toBe(job.id);
  });

  it('lists more than a page of jobs, newest first, and filters by metadata', async () => {
    const made: string[] = [];
    for (let i = 0; i < 25; i++) made.push((await create({ metadata: { batch: 'b' } })).id);
    expect((await collect(client.fineTuning.jobs.list({ metadata: { batch: 'b' } }))).map(({ id }) => id)).toEqual(made.reverse());
    expect((await collect(client.fineTuning.jobs.list({ limit: 7 }))).length).toBe(26);
  });

  it('pauses, resumes and cancels', async () => {
    const { id } = await create();
    await queued(id);
    expect((await client.fineTuning.jobs.pause(id)).status).toBe('paused');
    expect((await client.fineTuning.jobs.resume(id)).status).toBe('queued');
    expect((await client.fineTuning.jobs.cancel(id)).status).toBe('cancelled');
    expect((await client.fineTuning.jobs.cancel(id)).status).toBe('cancelled');
  });

  it('reads events and checkpoints, page after page', async () => {
    const { id } = await create();
    for (let step = 1; step <= 23; step++) {
      await api.database.query(
        `insert into checkpoints (id, run_id, stage, step, epoch, name, bytes, metrics, state) values ($2, $1, 'align', $3, 1, $4, 10, '{"step": 1}', 'committed')`,
        [id, `ftckpt-${step}`, step, `checkpoints/align/${step}.1`],
      );
      await api.database.transaction((tx) => feed.tell(tx, id, { kind: 'event', type: 'checkpoint.saved', message: `step ${step}` }));
    }
    const events = await collect(client.fineTuning.jobs.listEvents(id));
    expect([events.length, events[0].message, events.at(-1)?.data]).toEqual([24, 'step 23', { type: 'job.created', seq: 1 }]);
    const checkpoints = await collect(client.fineTuning.jobs.checkpoints.list(id));
    expect(checkpoints.map(({ step_number }) => step_number)).toEqual(Array.from({ length: 23 }, (_, i) => 23 - i));
    expect(checkpoints[0]).toMatchObject({ fine_tuning_job_id: id, fine_tuned_model_checkpoint: 'checkpoints/align/23.1' });
  });

  it('meets errors that it can read, and repeats no conflict', async () => {
    const retrying = client.withOptions({ maxRetries: 2 });
    const { id } = await create();
    const conflict = await retrying.fineTuning.jobs.resume(id).catch((error: unknown) => error);
    expect(conflict).toBeInstanceOf(OpenAI.ConflictError);
    expect(conflict).toMatchObject({ status: 409, code: 'jobs.not_paused', type: 'conflict_error', requestID: expect.any(String) });
    await expect(client.fineTuning.jobs.retrieve('ftjob-none')).rejects.toMatchObject({ status: 404, code: 'jobs.unknown' });
    const unknown = { ...distillation(), training_file: 'file-none' };
    await expect(client.fineTuning.jobs.create(unknown)).rejects.toMatchObject({ status: 400, code: 'jobs.file_unknown', param: 'training_file' });
  });
});
