import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { downloadModel } from '../../src/cli/download-model.js';
import type { RunEvent } from '../../src/distillation/events.js';
import type { RunReport } from '../../src/distillation/report.js';
import type { RunPlan } from '../../src/distillation/run-plan.js';
import { MetricsAnswer } from '../../src/metrics/metrics.service.js';
import { ModelDirectory } from '../../src/model-files/model-directory.js';
import { JobCheckpoint, JobEvent, JobSample } from '../../src/runs/run-history.schema.js';
import type { Job } from '../../src/runs/runs.schema.js';
import { runLimbeck, type Finished } from '../support/limbeck-process.js';
import { TINY_METHOD, WholeService, type Told } from '../support/whole-service.js';

interface Failure {
  readonly error: { readonly code: string; readonly message: string; readonly param: string | null };
}
interface Page {
  readonly data: readonly { readonly id: string }[];
}

const JOBS = '/v1/fine_tuning/jobs';
const STAGES = ['validate', 'collect', 'distill', 'align', 'evaluate', 'export'];

let service: WholeService;
/** A job that nobody disturbed, and its stream. */
let job: Job;
let told: Told[];
/** The same job without a service. */
let alone: Finished;

beforeAll(async () => {
  service = await WholeService.start();
  await service.register();
  const id = await service.submit();
  told = await service.follow(id);
  job = await service.job(id);
  alone = await runLimbeck(['distill', await service.jobFile(), '--out', join(service.dir, 'alone')]);
  expect(alone.report, alone.stderr).toBeDefined();
});
afterAll(() => service.stop());

const reportOf = ({ report }: Job): RunReport => report as RunReport;
const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');
const fileSha256 = async (...path: string[]): Promise<string> => sha256(await readFile(join(service.dir, ...path)));
const statuses = (messages: readonly Told[]): unknown[] => messages.filter(({ event }) => event === 'status').map(({ data }) => data['status']);
const typeOf = ({ data }: Told): unknown => (data['data'] as Record<string, unknown> | undefined)?.['type'];
const isSaved = (stage: string) => (message: Told): boolean => typeOf(message) === 'checkpoint.saved' && (message.data['data'] as { stage: string }).stage === stage;
const isStatus = (status: string) => ({ event, data }: Told): boolean => event === 'status' && data['status'] === status;
const checkpointsOf = (id: string) => service.list(id, 'checkpoints', JobCheckpoint);
const stepsAlone = (stage: string) => alone.events.filter((event) => event.kind === 'step').filter(({ metrics }) => metrics.stage === stage);

describe('a dry run', () => {
  it('answers with the plan: checks, steps, tokens, teacher requests, memory', async () => {
    const { status, json } = await service.post<Job>(`${JOBS}?dry_run=true`, service.submission());
    const plan = json.plan as RunPlan;

    expect([status, json.status, json.dry_run, json.fine_tuned_model, json.report]).toEqual([200, 'succeeded', true, null, null]);
    expect(json.status_details.stages.map(({ name, status: stage }) => `${name} ${stage}`)).toEqual(['validate succeeded']);
    expect(plan.checks.length).toBeGreaterThan(2);
    expect(plan.checks.map(({ verdict }) => verdict)).not.toContain('failed');
    expect(plan.steps).toEqual({ distill_at_most: (20 * 12 * TINY_METHOD.distill.epochs) / 60, align: 7 });
    // Answers to 20 + 4 prompts, three evaluations of two rollouts to each of 4, and 7 x 4 rollouts.
    expect(plan.teacher_requests).toBe(20 + 4 + 3 * 2 * 4 + 28);
    expect(plan.tokens.teacher_at_most).toBeGreaterThan(20 * 12);
    expect(plan.tokens.student_at_most).toBeGreaterThan(TINY_METHOD.distill.epochs * 20 * 12);
    expect(plan.memory_bytes).toBeGreaterThan(0);
    expect(plan.disk_bytes).toBeGreaterThan(0);
  });
});

describe('a whole job', () => {
  it('ends as a job object that says what it was made of, what it took and what came of it', async () => {
    const report = reportOf(job);

    expect(job).toMatchObject({ object: 'fine_tuning.job', status: 'succeeded', error: null, dry_run: false, model: 'small', seed: 11, estimated_finish: null });
    expect(job.fine_tuned_model).toMatch(/^[a-z0-9][a-z0-9._-]{0,62}$/);
    expect(job.finished_at).toBeGreaterThanOrEqual(job.created_at);
    expect(job.status_details).toMatchObject({ stage: null, waiting_reason: null });
    expect(job.status_details.stages.map(({ name, status, epoch }) => `${name} ${status} ${epoch}`)).toEqual(STAGES.map((name) => `${name} succeeded 1`));
    expect(job.lineage).toMatchObject({
      base_model: 'small',
      training_sha256: await fileSha256('train.jsonl'),
      validation_sha256: await fileSha256('heldout.jsonl'),
      teacher: { id: service.inputs.teacher, name: 'strong', model: 'tiny-teacher', dialect: 'vllm' },
      spec_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    expect(job.trained_tokens).toBe(report.stages.distill.tokens + report.stages.align.tokens);
    expect(job.usage.teacher_requests).toBe(20 + 4 + 3 * 2 * 4 + 28);
    expect(job.usage.student_tokens).toBeGreaterThanOrEqual(job.trained_tokens!);
    expect(Object.keys(job.usage.device_seconds)).toEqual(expect.arrayContaining(['distill', 'align', 'evaluate', 'export']));
  });

  it('reports what one run without a service reports, to the bit', () => {
    const ours = reportOf(job);
    const theirs = alone.report!;

    expect(ours.student_sha256).toBe(theirs.student_sha256);
    expect(ours.evaluation).toEqual(theirs.evaluation);
    expect(ours.differences).toEqual(theirs.differences);
    expect(ours.samples).toEqual(theirs.samples);
    expect(Object.keys(ours).sort()).toEqual(Object.keys(theirs).filter((field) => field !== 'student_dir').sort());
    for (const stage of ['collect', 'distill', 'align', 'evaluate', 'export'] as const) {
      expect([stage, ours.stages[stage].tokens, ours.stages[stage].teacher_calls]).toEqual([stage, theirs.stages[stage].tokens, theirs.stages[stage].teacher_calls]);
    }
  });

  it('names no place on the disk of the service', async () => {
    const answers = [job, told, await checkpointsOf(job.id), await service.list(job.id, 'samples', JobSample), (await service.get('/v1/models')).json, (await service.get('/v1/nodes')).json];
    for (const answer of answers) expect(JSON.stringify(answer)).not.toContain(service.dir);
  });

  it('lets its student be fetched, whole', async () => {
    const dir = join(service.dir, 'fetched');
    await downloadModel(service.client, job.fine_tuned_model!, dir);

    expect(await fileSha256('fetched', 'model.safetensors')).toBe(reportOf(job).student_sha256);
    const fetched = await ModelDirectory.open(dir);
    const start = await ModelDirectory.open(join(service.dir, 'student'));
    expect(fetched.config).toEqual(start.config);
    await Promise.all([fetched.close(), start.close()]);
    expect(await readFile(join(dir, 'tokenizer.json'), 'utf8')).toBe(await readFile(join(service.dir, 'student', 'tokenizer.json'), 'utf8'));
  });

  it('streams its feed in order to the end: every status, the events that are listed, and done', async () => {
    const listed = (await service.list(job.id, 'events', JobEvent)).reverse();
    const seqs = listed.map(({ data }) => data.seq);

    expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
    expect(told.filter(({ event }) => event === 'event').map(({ data }) => data)).toEqual(listed);
    expect(told.at(-1)).toMatchObject({ event: 'done', data: { status: 'succeeded' } });
    const numbers = told.slice(0, -1).map(({ seq }) => Number(seq));
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    expect(statuses(told)).toEqual(['validating_files', 'queued', 'running', 'succeeded']);
    const happened = listed.map(({ data }) => data.type).filter((type) => !/^check[.]|^checkpoint[.]/.test(type));
    expect(happened.filter((type) => !type.startsWith('stage.'))).toEqual(['job.created', 'job.validated', 'job.started', 'model.created', 'job.succeeded']);
    const ended = listed.filter(({ data }) => data.type === 'stage.finished').map(({ data }) => data['stage']);
    expect(ended).toEqual(STAGES);
  });

  it.each(['distill', 'align'] as const)('charts each step of %s once, with the values of the run alone', async (stage) => {
    const steps = stepsAlone(stage);
    const { data } = await service.client.get(`${JOBS}/${job.id}/metrics?max_points=2000`, MetricsAnswer);
    const charts = data.filter(({ key }) => key.startsWith(`${stage}/`));

    expect(steps.length).toBeGreaterThan(stage === 'align' ? 6 : 30);
    expect(charts.map(({ key }) => key)).toEqual(expect.arrayContaining(['loss', 'grad_norm', 'learning_rate', 'forward_kl', 'reverse_kl', 'tokens'].map((name) => `${stage}/${name}`)));
    for (const { points } of charts) expect(points.map(({ step, count }) => [step, count])).toEqual(steps.map((_, index) => [index + 1, 1]));
    for (const name of ['loss', 'grad_norm', 'forward_kl', 'reverse_kl', 'loss_tokens'] as const) {
      const values = charts.find(({ key }) => key === `${stage}/${name}`)?.points.map(({ value }) => value);
      expect(values).toEqual(steps.map(({ metrics }) => metrics[name]));
    }
  });

  it('lists its checkpoints and its samples', async () => {
    const checkpoints = await checkpointsOf(job.id);
    const last = (stage: string): number => Math.max(...checkpoints.filter((one) => one.stage === stage && one.state === 'committed').map(({ step_number }) => step_number));
    expect([last('distill'), last('align')]).toEqual([stepsAlone('distill').length, 7]);
    for (const { id, bytes, fine_tuning_job_id: owner } of checkpoints) expect([id.slice(0, 7), owner, bytes > 0]).toEqual(['ftckpt-', job.id, true]);

    const samples = await service.list(job.id, 'samples', JobSample);
    const expected = alone.events.filter((event): event is Extract<RunEvent, { kind: 'samples' }> => event.kind === 'samples');
    expect(new Set(samples.map(({ label }) => label))).toEqual(new Set(['before', 'after_distill', 'after_align']));
    for (const { label, samples: pairs } of expected) {
      const kept = pairs.map(({ prompt, teacher, student }) => [prompt, teacher, student].map((text) => text?.replaceAll('\0', '\uFFFD'))); // what Postgres cannot hold
      expect(samples.filter((sample) => sample.label === label).map(({ prompt, teacher, student }) => [prompt, teacher, student])).toEqual(kept);
    }
  });
});

describe('orders over REST', () => {
  it('a job paused in distill rests with its checkpoint, and goes on to the same bits', async () => {
    const id = await service.submit({ checkpoint_every: { steps: 1 } });
    await service.follow(id, isSaved('distill'));
    expect((await service.order(id, 'pause')).status).toMatch(/^paus(ing|ed)$/);
    await service.follow(id, isStatus('paused'));

    const resting = await service.job(id);
    const [newest] = await checkpointsOf(id);
    expect(resting).toMatchObject({ status: 'paused', status_details: { stage: 'distill', waiting_reason: 'resume' }, fine_tuned_model: null });
    expect(newest).toMatchObject({ stage: 'distill', state: 'committed' });
    expect(newest.step_number).toBeLessThan(stepsAlone('distill').length);

    expect((await service.order(id, 'resume')).status).toMatch(/^(queued|running)$/);
    const whole = await service.follow(id);
    const done = await service.job(id);
    expect(reportOf(done).student_sha256).toBe(reportOf(job).student_sha256);
    expect(statuses(whole)).toEqual(['validating_files', 'queued', 'running', 'pausing', 'paused', 'queued', 'running', 'succeeded']);
    expect(whole.filter((message) => typeOf(message) === 'checkpoint.loaded').map(({ data }) => data['data'])).toEqual([expect.objectContaining({ stage: 'distill', first_step: newest.step_number + 1 })]);
  });

  it('a job cancelled in align ends at a step boundary by the push alone, and keeps its checkpoints', async () => {
    const id = await service.submit({ align: { ...TINY_METHOD.align, steps: 2_000 }, checkpoint_every: { steps: 1 } });
    await service.follow(id, isSaved('align'));
    await service.order(id, 'cancel');
    const whole = await service.follow(id);

    const ended = await service.job(id);
    expect(whole.at(-1)).toMatchObject({ event: 'done', data: { status: 'cancelled' } });
    expect(ended).toMatchObject({ status: 'cancelled', fine_tuned_model: null, error: null });
    expect(ended.status_details.stages.map(({ name, status }) => `${name} ${status}`)).toEqual([
      ...['validate', 'collect', 'distill'].map((name) => `${name} succeeded`),
      ...['align', 'evaluate', 'export'].map((name) => `${name} cancelled`),
    ]);
    const kept = (await checkpointsOf(id)).filter(({ state }) => state === 'committed').map(({ stage }) => stage);
    expect(kept).toEqual(expect.arrayContaining(['distill', 'align']));
    expect((await service.order(id, 'cancel')).status).toBe('cancelled');
  });
});

describe('bad input', () => {
  const LISTS = [JOBS, '/v1/models', '/v1/files', '/v1/teachers'];
  const everything = () => Promise.all(LISTS.map(async (path) => (await service.get<Page>(`${path}?limit=100`)).json.data.map(({ id }) => id)));
  let before: string[][];
  beforeAll(async () => {
    before = await everything();
  });
  afterAll(async () => expect(await everything()).toEqual(before));

  it.each<[string, { distillation?: object; model?: string; training_file?: string }, string, string]>([
    ['a model that is not there', { model: 'none' }, 'jobs.model_unknown', 'model'],
    ['a file that is not there', { training_file: 'file-none' }, 'jobs.file_unknown', 'training_file'],
    ['a teacher that is not there', { distillation: { teacher: 'teacher-none' } }, 'jobs.teacher_unknown', 'method.distillation.teacher'],
    ['an address in place of a teacher', { distillation: { teacher: 'http://127.0.0.1:1' } }, 'http.invalid_request', 'method.distillation.teacher'],
    ['an unknown field', { distillation: { align: { setps: 3 } } }, 'http.invalid_request', 'method.distillation.align.setps'],
    ['a value out of range', { distillation: { distill: { epochs: -1 } } }, 'http.invalid_request', 'method.distillation.distill.epochs'],
  ])('refuses %s, naming the field', async (_, { distillation, ...top }, code, param) => {
    for (const query of ['', '?dry_run=true']) {
      const { status, json } = await service.post<Failure>(`${JOBS}${query}`, { ...service.submission(distillation), ...top });
      expect([status, json.error.code, json.error.param]).toEqual([400, code, param]);
    }
  });

  it('knows no job by another id', async () => {
    const answers = [await service.get<Failure>(`${JOBS}/ftjob-none`), await service.get<Failure>(`${JOBS}/ftjob-none/stream`), await service.post<Failure>(`${JOBS}/ftjob-none/pause`, {})];
    expect(answers.map(({ status, json }) => [status, json.error.code])).toEqual(Array(3).fill([404, 'jobs.unknown']));
  });

  it.each([
    ['cancel', 'jobs.finished'],
    ['pause', 'jobs.finished'],
    ['resume', 'jobs.not_paused'],
  ])('refuses to %s a job that has ended, and says that repeating does not help', async (order, code) => {
    const { status, headers, json } = await service.post<Failure>(`${JOBS}/${job.id}/${order}`, {});
    expect([status, headers.get('x-should-retry'), json.error.code]).toEqual([409, 'false', code]);
    expect((await service.job(job.id)).status).toBe('succeeded');
  });

  it.each(['http://127.0.0.1:1', 'http://169.254.169.254/latest', 'http://localhost:8080', 'file:///etc/passwd'])('refuses the teacher %s, which nobody allowed', async (address) => {
    const { status, json } = await service.post<Failure>('/v1/teachers', { name: 'other', base_url: address, model: 'm' });
    expect([status, json.error.code, json.error.param]).toEqual([400, 'egress.refused', 'base_url']);
  });

  it('refuses a prompt file with bad lines, naming them', async () => {
    const form = { purpose: 'fine-tune', file: new File(['{"messages":[{"role":"user","content":"a"}]}\n{"messages":\n'], 'bad.jsonl') };
    const { status, json } = await service.postForm<Failure>('/v1/files', form);
    expect([status, json.error.code]).toEqual([400, 'files.invalid_lines']);
    expect(json.error.message).toContain('line 2');
  });

  it('makes no model of files that were never sent', async () => {
    const { status, json } = await service.post<Failure>('/v1/models', { id: 'nothing' });
    expect([status, json.error.code]).toEqual([404, 'models.nothing_staged']);
  });
});
