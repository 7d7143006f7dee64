import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Job } from '../../src/runs/runs.schema.js';
import { INVALID_ANSWERS, isProbe, MisbehavingTeacher, type Misbehaviour } from '../support/fake-teacher/misbehaving-teacher.js';
import { TinyService } from '../support/tiny-service.js';

/** Of the endpoint; short, so that nothing is waited for that a test is not about. */
const SWIFT = {
  endpointSyncMs: 25,
  endpointWindowMs: 1_000,
  endpointCircuitCalls: 6,
  endpointProbeMs: 100,
  endpointProbeMostMs: 400,
  endpointAwayMs: 600,
  endpointRetryFloor: 10_000,
  endpointRetryWaitMs: 1,
  endpointRetryWaitMostMs: 20,
  sweepMs: 50,
};

let service: TinyService;
let teacher: MisbehavingTeacher;
/** Weights that an undisturbed run exports. */
let undisturbed: string;

beforeAll(async () => {
  const front = async (url: string): Promise<string> => {
    teacher = await MisbehavingTeacher.start(url);
    return teacher.url;
  };
  service = await TinyService.start({ front });
  await service.startWorker(SWIFT);
  const id = await service.submit();
  await service.until(id, ({ status }) => status === 'succeeded');
  undisturbed = await service.studentSha256(id);
  await service.stopWorkers();
});
afterAll(async () => {
  await service.close();
  await teacher.close();
});
afterEach(async () => {
  teacher.behave();
  await service.stopWorkers();
  await service.database.query('delete from teacher_endpoints');
});

const progressOf = (job: Job, stage: string): number => job.status_details.stages.find(({ name }) => name === stage)?.progress?.done ?? 0;
const fails = (status: number): Misbehaviour => ({ kind: 'status', status });
/** Once `count` more requests have come. */
async function arrivals(count: number): Promise<void> {
  const before = teacher.received.length;
  while (teacher.received.length < before + count) await new Promise((resolve) => setTimeout(resolve, 10));
}

describe('a teacher that fails half its calls, then all, then recovers', () => {
  it('pauses the run, is probed and nothing else, and gets the run back to the same weights', async () => {
    await service.startWorker(SWIFT);
    teacher.misbehave((request) => (!isProbe(request) && request.number % 2 === 0 ? fails(request.number % 4 === 0 ? 503 : 502) : undefined));
    const id = await service.submit();
    await service.until(id, (job) => progressOf(job, 'align') >= 1);
    const failedHalf = teacher.received.filter(({ met }) => met !== undefined).length;

    teacher.misbehave(() => fails(500));
    await service.until(id, ({ status_details }) => status_details.waiting_reason === 'teacher_unavailable');
    const from = teacher.received.length;
    const paused = await service.until(id, ({ status }) => status === 'paused');
    await arrivals(3);
    const outage = teacher.received.slice(from);
    teacher.behave();
    const { usage } = await service.until(id, ({ status }) => status === 'succeeded');

    expect(failedHalf).toBeGreaterThan(0);
    expect(paused.status_details).toMatchObject({ stage: 'align', waiting_reason: 'resume', paused_for: { code: 'teacher.away' } });
    expect(outage.filter((request) => !isProbe(request))).toEqual([]);
    expect(await service.eventTypes(id)).toEqual(expect.arrayContaining(['teacher.away', 'teacher.back', 'job.paused', 'job.queued', 'job.resumed', 'job.succeeded']));
    expect(await service.studentSha256(id)).toBe(undisturbed);
    expect(usage.teacher_attempts).toBeGreaterThan(usage.teacher_requests);
  });
});

describe('invalid answers', () => {
  it('of every kind are asked for again, counted as cost, and never trained on', async () => {
    await service.startWorker({ ...SWIFT, endpointCircuitCalls: 10_000 });
    const before = teacher.received.length;
    let asked = 0;
    let spoilt = 0;
    teacher.misbehave((request) => (!isProbe(request) && ++asked % 5 === 0 ? INVALID_ANSWERS[spoilt++ % INVALID_ANSWERS.length] : undefined));
    const id = await service.submit();
    const { usage } = await service.until(id, ({ status }) => status === 'succeeded');

    expect(spoilt).toBeGreaterThanOrEqual(INVALID_ANSWERS.length);
    expect(await service.studentSha256(id)).toBe(undisturbed);
    expect(usage.teacher_attempts).toBe(teacher.received.length - before);
    expect(usage.student_tokens).toBeGreaterThan(0);
  });

  it('stop the run once they are too many', async () => {
    await service.startWorker({ ...SWIFT, endpointCircuitCalls: 10_000 });
    teacher.misbehave((request) => (isProbe(request) ? undefined : { kind: 'positive' }));
    const id = await service.submit();
    const { error, status_details } = await service.until(id, ({ status }) => status === 'failed');

    expect(error?.code).toBe('teacher.bad_output');
    expect(status_details.stages.find(({ status }) => status === 'failed')?.name).toBe('collect');
  });
});

describe('a teacher that asks to be left alone', () => {
  it('is asked by no worker until the time is over', async () => {
    await Promise.all([service.startWorker(SWIFT), service.startWorker(SWIFT)]);
    const [first, second] = [await service.submit(), await service.submit()];
    let told: number | undefined;
    teacher.misbehave((request) => {
      if (told !== undefined || isProbe(request)) return undefined;
      told = request.atMs;
      return { kind: 'status', status: 429, retryAfter: '3' };
    });
    await Promise.all([first, second].map((id) => service.until(id, ({ status }) => status === 'succeeded')));

    const since = teacher.received.map(({ atMs }) => atMs - (told ?? NaN));
    expect(since.filter((ms) => ms > 1_000 && ms < 2_950)).toEqual([]);
    expect(since.some((ms) => ms >= 2_950)).toBe(true);
    expect([await service.studentSha256(first), await service.studentSha256(second)]).toEqual([undisturbed, undisturbed]);
  });
});

describe('a teacher that takes requests and never answers', () => {
  it.each<Misbehaviour>([{ kind: 'hang' }, { kind: 'drip', everyMs: 20 }, { kind: 'reset' }])('$kind: is given up in the time its work may take, and the run ends as undisturbed', async (trouble) => {
    await service.startWorker({ ...SWIFT, endpointAnswerMs: 300, endpointAnswerMsPerToken: 1, endpointSilenceMs: 200, endpointSlowestBytesPerMs: 2 ** 20, endpointAwayMs: 60_000 });
    let left = 12;
    teacher.misbehave((request) => (!isProbe(request) && left-- > 0 ? trouble : undefined));
    const id = await service.submit();
    await service.until(id, ({ status }) => status === 'succeeded');

    expect(left).toBeLessThan(0);
    expect(await service.studentSha256(id)).toBe(undisturbed);
  });
});
