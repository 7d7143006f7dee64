import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import Bull from 'bull';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Job } from '../../src/runs/runs.schema.js';
import { redisCommand } from '../../src/embedded/redis-command.js';
import { TinyService } from '../support/tiny-service.js';

interface Page<Item> {
  readonly data: Item[];
}

let service: TinyService;
/** Weights of the student that an undisturbed run exports. */
let undisturbed: { readonly id: string; readonly sha256: string };

beforeAll(async () => {
  service = await TinyService.start();
  await service.startWorker();
  const id = await service.submit();
  await service.until(id, ({ status }) => status === 'succeeded');
  undisturbed = { id, sha256: await service.studentSha256(id) };
  await service.stopWorkers();
});
afterAll(() => service.close());
afterEach(() => service.stopWorkers());

const stagesOf = (id: string) => service.database.query<{ name: string; status: string; epoch: number }>('select name, status, epoch from stages where run_id = $1 order by ordinal', [id]);
/** Steps that metrics of a key tell of, each once: what later attempts took again is hidden. */
const stepsOf = async (id: string, key: string): Promise<number[]> => {
  const rows = await service.database.query<{ step: number }>('select distinct step from metric_points p join metric_series s on s.id = p.series where s.run_id = $1 and s.key = $2 order by step', [id, key]);
  return rows.map(({ step }) => step);
};
const stageProgress = (job: Job, stage: string): number => job.status_details.stages.find(({ name }) => name === stage)?.progress?.done ?? 0;

describe('an undisturbed job', () => {
  it('tells of itself from its creation to its model', async () => {
    const types = (await service.eventTypes(undisturbed.id)).filter((type) => /^(job|model)[.]/.test(type));

    expect(types).toEqual(['job.created', 'job.validated', 'job.started', 'model.created', 'job.succeeded']);
    expect((await stagesOf(undisturbed.id)).map(({ name, status, epoch }) => `${name} ${status} ${epoch}`)).toEqual(
      ['validate', 'collect', 'distill', 'align', 'evaluate', 'export'].map((name) => `${name} succeeded 1`),
    );
  });

  it('leaves metrics, checkpoints, samples and committed files', async () => {
    const [{ report }] = await service.database.query<{ report: { student_sha256: string } }>('select report from runs where id = $1', [undisturbed.id]);
    const files = await service.database.query<{ place: string; bytes: number }>('select place, bytes from run_files where run_id = $1', [undisturbed.id]);
    const checkpoints = await service.get<Page<{ id: string }>>(`/v1/fine_tuning/jobs/${undisturbed.id}/checkpoints`);
    const samples = await service.database.query<{ label: string }>('select distinct label from run_samples where run_id = $1', [undisturbed.id]);

    expect(report.student_sha256).toBe(undisturbed.sha256);
    expect(await stepsOf(undisturbed.id, 'align/loss')).toEqual([1, 2, 3, 4, 5, 6]);
    expect(checkpoints.json.data.length).toBeGreaterThan(0);
    expect(samples.map(({ label }) => label).sort()).toEqual(['after_align', 'after_distill', 'before']);
    for (const { place, bytes } of files) expect((await stat(join(service.storeDir, 'runs', undisturbed.id, place))).size).toBeGreaterThanOrEqual(bytes);
  });
});

describe('orders', () => {
  it.each(['distill', 'align'])('a job paused in %s goes on with the same bits', async (stage) => {
    await service.startWorker();
    const id = await service.submit();
    await service.until(id, (job) => stageProgress(job, stage) >= 1);

    await service.post(`/${id}/pause`);
    await service.until(id, ({ status }) => status === 'paused');
    await service.post(`/${id}/resume`);
    await service.until(id, ({ status }) => status === 'succeeded');

    expect(await service.studentSha256(id)).toBe(undisturbed.sha256);
    expect(await service.eventTypes(id)).toEqual(expect.arrayContaining(['job.pausing', 'job.paused', 'stage.resumed', 'job.succeeded']));
    expect((await stagesOf(id)).find(({ name }) => name === stage)?.epoch).toBe(2);
  });

  it('a job cancelled at work ends, and its stages with it', async () => {
    await service.startWorker();
    const id = await service.submit({ align: { steps: 500, prompts_per_step: 3, max_tokens: 8, learning_rate: 2e-3 } });
    await service.until(id, (job) => stageProgress(job, 'align') >= 1);

    await service.post(`/${id}/cancel`);
    await service.until(id, ({ status }) => status === 'cancelled');

    expect((await stagesOf(id)).slice(3).map(({ status }) => status)).toEqual(['cancelled', 'cancelled', 'cancelled']);
    expect(await service.database.query(`select 1 from stages where run_id = $1 and lease_expires_at is not null`, [id])).toEqual([]);
  });

  it('a dry run ends with the plan', async () => {
    await service.startWorker();
    const id = await service.submit({}, '?dry_run=true');

    const { status } = await service.until(id, (job) => job.status === 'succeeded');
    const [{ plan }] = await service.database.query<{ plan: { steps: { align: number } } }>('select plan from runs where id = $1', [id]);

    expect(status).toBe('succeeded');
    expect(plan.steps.align).toBe(6);
  });
});

describe('trouble', () => {
  it('gives a stage back when the worker ends, and another goes on with the same bits', async () => {
    const first = await service.startWorker();
    const id = await service.submit();
    await service.until(id, (job) => stageProgress(job, 'distill') >= 2);
    await first.close();
    const [held] = await service.database.query<{ status: string; node_id: string | null }>(`select status, node_id from stages where run_id = $1 and name = 'distill'`, [id]);

    await service.startWorker();
    await service.until(id, ({ status }) => status === 'succeeded');

    expect(held).toEqual({ status: 'waiting', node_id: null });
    expect(await service.studentSha256(id)).toBe(undisturbed.sha256);
  });

  it('ends a job whose queue is emptied on the way', async () => {
    await service.startWorker();
    const id = await service.submit();
    await service.until(id, (job) => stageProgress(job, 'distill') >= 1);

    await forget();
    await service.until(id, ({ status }) => status === 'succeeded');

    expect(await service.studentSha256(id)).toBe(undisturbed.sha256);
  });

  it('does nothing for jobs that somebody else put into the queue', async () => {
    await service.startWorker();
    const queue = new Bull('device', service.queue.url, { prefix: service.queue.prefix });
    const [{ id: stageId }] = await service.database.query<{ id: number }>(`select id from stages where run_id = $1 and name = 'export'`, [undisturbed.id]);
    const before = await stagesOf(undisturbed.id);

    const forged = [{ stageId, epoch: 2 }, { stageId, epoch: 1 }, { stageId: -1, epoch: 1 }, { stageId: 999_999, epoch: 1 }, { command: 'rm' }, {}];
    await queue.isReady();
    const jobs = await Promise.all(forged.map((data) => queue.add(data)));
    await Promise.all(jobs.map((job) => job.finished()));

    expect(await stagesOf(undisturbed.id)).toEqual(before);
    await queue.close();
  });

  it('fails a job whose teacher is gone with the code of what was wrong', async () => {
    await service.startWorker();
    const [{ id: teacher }] = await service.database.query<{ id: string }>(`select id from teachers where name = 'strong'`);
    await service.database.query(`update teachers set model = 'other' where id = $1`, [teacher]);
    const id = await service.submit();

    const { error } = await service.until(id, ({ status }) => status === 'failed');
    await service.database.query(`update teachers set model = 'tiny' where id = $1`, [teacher]);

    expect(error?.code).toMatch(/^teacher[.]/);
  });
});

async function forget(): Promise<void> {
  const { port, password } = new URL(service.queue.url);
  const script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('UNLINK', key) end return redis.status_reply('DONE')";
  await redisCommand({ port: Number(port), password, timeoutMs: 5_000 }, 'EVAL', script, '0', `${service.queue.prefix}:*`);
}
