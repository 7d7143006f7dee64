import { setTimeout as pause } from 'node:timers/promises';
import type { WorkerSettingsInput } from '../../src/config/service-settings.js';
import { INVALID_ANSWERS, isProbe, type Misbehaviour, type MisbehavingTeacher } from '../support/fake-teacher/misbehaving-teacher.js';
import { rssKib } from '../support/process-figures.js';
import { ChaosJob } from './chaos-job.js';
import type { ChaosService } from './chaos-service.js';
import { Claims, type ChaosRow } from './table.js';
import { checkAgainst, type Undisturbed } from './undisturbed.js';

/** Durations of an endpoint, shrunk as those of leases are. */
const ENDPOINT = {
  endpointSyncMs: 50,
  endpointWindowMs: 1_500,
  endpointCircuitCalls: 10,
  endpointProbeMs: 750,
  endpointProbeMostMs: 3_000,
  endpointAwayMs: 3_000,
  endpointRetryFloor: 10_000,
  endpointRetryWaitMs: 5,
  endpointRetryWaitMostMs: 50,
} satisfies Partial<WorkerSettingsInput>;
/** A circuit that never opens, for faults that are not about it. */
const PATIENT: Partial<WorkerSettingsInput> = { ...ENDPOINT, endpointCircuitCalls: 10_000 };
const OUTAGE_MS = 9_000;
const MEMORY_MOST_KIB = 100 * 1024;

/** A teacher between the service and the honest one. */
export interface TeacherFaults {
  readonly service: ChaosService;
  readonly undisturbed: Undisturbed;
  readonly teacher: MisbehavingTeacher;
}

const isWork = (request: Parameters<typeof isProbe>[0]): boolean => !isProbe(request);

/** C10: half of the calls fail, then all of them for a while, then none. */
export async function failTeacher({ service, undisturbed, teacher }: TeacherFaults): Promise<ChaosRow> {
  const claims = new Claims();
  await service.startWorker(ENDPOINT);
  teacher.misbehave((request) => (isWork(request) && request.number % 2 === 0 ? { kind: 'status', status: 503 } : undefined));
  const job = await ChaosJob.submit(service, undisturbed.inputs);
  await job.untilStage('align', ({ done }) => done >= 2);
  const failed = teacher.received.filter(({ met }) => met !== undefined).length;
  teacher.misbehave(() => ({ kind: 'status', status: 500 }));
  await pause(ENDPOINT.endpointWindowMs); // half of the calls failing may have opened the circuit before, and a probe closed it
  await job.untilStage('align', ({ waitingFor }) => waitingFor === 'teacher_unavailable');
  const from = teacher.received.length;
  const began = Date.now();
  await job.until(async () => ((await job.status()) === 'paused' ? true : undefined));
  await pause(Math.max(0, OUTAGE_MS - (Date.now() - began)));
  const outage = teacher.received.slice(from);
  const mostProbes = 2 + Math.ceil((Date.now() - began) / ENDPOINT.endpointProbeMs);
  teacher.behave();
  await job.untilEnded();
  await service.killWorkers();
  await checkAgainst(claims, job, undisturbed);
  claims.equal('calls other than probes while the circuit was open', outage.filter(isWork).length, 0);
  claims.atMost('requests during the outage', outage.length, mostProbes);
  const seen = `${failed} calls failed before the outage; in ${OUTAGE_MS} ms of it ${outage.length} requests, all probes (at most ${mostProbes}); paused and resumed by itself`;
  return { id: 'C10', fault: 'teacher fails half its calls, then all for a while', times: 1, mustHold: 'pauses and ends by itself, at most the probes meanwhile, same bits', seen, broken: claims.broken };
}

/** C11: requests that are taken and never answered, answers that drip, and connections that are closed. */
export async function silenceTeacher({ service, undisturbed, teacher }: TeacherFaults): Promise<ChaosRow> {
  const claims = new Claims();
  const troubles: readonly Misbehaviour[] = [{ kind: 'hang' }, { kind: 'drip', everyMs: 20 }, { kind: 'reset' }];
  await service.startWorker({ ...PATIENT, endpointAnswerMs: 500, endpointAnswerMsPerToken: 1, endpointSilenceMs: 300, endpointSlowestBytesPerMs: 2 ** 20 });
  let met = 0;
  teacher.misbehave((request) => (isWork(request) && request.number % 5 === 0 ? troubles[met++ % troubles.length] : undefined));
  const job = await ChaosJob.submit(service, undisturbed.inputs);
  await job.untilEnded();
  teacher.behave();
  await service.killWorkers();
  await checkAgainst(claims, job, undisturbed);
  return { id: 'C11', fault: 'teacher never answers, drips, or closes connections', times: met, mustHold: 'each given up within the limits of its request, same bits', seen: `${met} requests met it`, broken: claims.broken };
}

/** C12: answers of every kind that must not be used, one of them a gigabyte long. */
export async function spoilAnswers({ service, undisturbed, teacher }: TeacherFaults): Promise<ChaosRow> {
  const claims = new Claims();
  const kinds: readonly Misbehaviour[] = [...INVALID_ANSWERS, { kind: 'huge', bytes: 2 ** 30 }];
  const worker = await service.startWorker(PATIENT);
  let spoilt = 0;
  let least = Infinity;
  let most = 0;
  teacher.misbehave((request) => (isWork(request) && request.number % 6 === 0 ? kinds[spoilt++] : undefined)); // each kind once: more than ten invalid answers would end the run, as they should
  const job = await ChaosJob.submit(service, undisturbed.inputs);
  await job.until(async () => {
    const rss = await rssKib(worker.pid);
    least = Math.min(least, rss);
    most = Math.max(most, rss);
    return (await job.status()) === 'succeeded' ? true : undefined;
  });
  teacher.behave();
  await service.killWorkers();
  await checkAgainst(claims, job, undisturbed);
  claims.holds(`only ${spoilt} of ${kinds.length} kinds of answers were met`, spoilt >= kinds.length);
  claims.atMost('KiB that the worker grew by', most - least, MEMORY_MOST_KIB);
  const seen = `${kinds.length} kinds of answers, none used; the worker grew by ${Math.round((most - least) / 1024)} MiB at most`;
  return { id: 'C12', fault: 'truncated JSON, HTML, NaN, positive log-probs, wrong ids, wrong lengths, deep JSON, 1 GiB', times: kinds.length, mustHold: 'never trained on, memory under 100 MiB more, same bits', seen, broken: claims.broken };
}

/** C13: a 429 with Retry-After holds for the whole endpoint, on every worker. */
export async function askForPatience({ service, undisturbed, teacher }: TeacherFaults, { seconds }: { readonly seconds: number }): Promise<ChaosRow> {
  const claims = new Claims();
  await Promise.all([service.startWorker(PATIENT), service.startWorker(PATIENT)]);
  let toldMs: number | undefined;
  const from = teacher.received.length;
  teacher.misbehave((request) => {
    if (toldMs !== undefined || !isWork(request)) return undefined;
    toldMs = request.atMs;
    return { kind: 'status', status: 429, retryAfter: String(seconds) };
  });
  const jobs = [await ChaosJob.submit(service, undisturbed.inputs), await ChaosJob.submit(service, undisturbed.inputs)];
  for (const job of jobs) await job.untilEnded();
  teacher.behave();
  await service.killWorkers();
  for (const job of jobs) await checkAgainst(claims, job, undisturbed);
  const since = teacher.received.slice(from).map(({ atMs }) => atMs - toldMs!);
  const early = since.filter((ms) => ms > 1_000 && ms < (seconds - 1) * 1_000);
  const next = Math.min(...since.filter((ms) => ms > 1_000));
  claims.equal('calls in between', early.length, 0);
  const seen = `next call ${(next / 1000).toFixed(1)} s after the 429`;
  return { id: 'C13', fault: `429 with Retry-After ${seconds}`, times: 1, mustHold: `zero calls for ${seconds} s ± 1 s from both workers, same bits`, seen, broken: claims.broken };
}
