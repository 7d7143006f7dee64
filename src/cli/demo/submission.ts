import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { AnswerPair } from '../../distillation/events.js';
import type { RunReport } from '../../distillation/report.js';
import { JobSample } from '../../runs/run-history.schema.js';
import { Job } from '../../runs/runs.schema.js';
import { Teacher, TeacherProbe } from '../../teachers/teacher.schema.js';
import type { ApiClient } from '../api-client.js';
import { downloadModel } from '../download-model.js';
import type { ProgressView } from '../progress.js';
import { pushFile, pushModel } from '../push.js';
import { pathOf, succeeded, watchJob } from '../watch.js';
import { demoSubmission, TEACHER_NAME } from './job-file.js';

/** What the demo takes through the service. */
export interface DemoRun {
  /** Holds `start` (the student's directory), `train.jsonl` and `heldout.jsonl`; the finished student is fetched into `student`. */
  readonly runDir: string;
  readonly teacher: { readonly url: string; readonly apiKey: string };
  readonly controls: 'none' | 'all';
  readonly view: ProgressView;
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}

/** The report of the run, with the job it was. */
export type DemoReport = RunReport & { readonly job_id: string; readonly model: string };

/** How the student answered. */
export interface DemoResult {
  readonly report: DemoReport;
  readonly before: readonly AnswerPair[];
  readonly after: readonly AnswerPair[];
}

/** Registers everything the demo needs, submits its job, watches it to its end and fetches the student. @throws AppError */
export async function runThroughService(client: ApiClient, run: DemoRun): Promise<DemoResult> {
  const job = succeeded(await submitAndWatch(client, run));
  const studentDir = join(run.runDir, 'student');
  const model = job.fine_tuned_model!; // a job that succeeded and was no dry run has one
  await downloadModel(client, model, studentDir);
  const report = { ...(job.report as RunReport), student_dir: studentDir, job_id: job.id, model };
  return { report, before: await samples(client, job.id, 'before'), after: await samples(client, job.id, 'after_align') };
}

async function submitAndWatch(client: ApiClient, { runDir, teacher, controls, view, say, signal }: DemoRun): Promise<Job> {
  const tag = randomBytes(3).toString('hex'); // names are unique in a service, which may outlive a demo
  const { id: model } = await pushModel(client, { dir: join(runDir, 'start'), name: `smollm2-start-${tag}`, base: TEACHER_NAME });
  const training = await pushFile(client, join(runDir, 'train.jsonl'));
  const heldOut = await pushFile(client, join(runDir, 'heldout.jsonl'));
  const registered = await client.post('/v1/teachers', { name: `demo-${tag}`, base_url: teacher.url, model: TEACHER_NAME, api_key: teacher.apiKey }, Teacher, { idempotencyKey: `teacher-${tag}` });
  const { status } = await client.post(`/v1/teachers/${registered.id}/probe`, {}, TeacherProbe);
  say(`pushed ${model}, ${training.prompts} training and ${heldOut.prompts} held-out prompts; the teacher's probe says ${status}`);
  const submission = demoSubmission({ model, trainingFile: training.id, validationFile: heldOut.id, teacher: registered.id, controls });
  const { id } = await client.post('/v1/fine_tuning/jobs', submission, Job, { idempotencyKey: `job-${tag}`, signal });
  say(`submitted ${id}`);
  try {
    return await watchJob(client, id, view, signal);
  } finally {
    view.close();
    if (signal.aborted) await client.post(`${pathOf(id)}/cancel`, {}, Job);
  }
}

async function samples(client: ApiClient, job: string, label: string): Promise<JobSample[]> {
  const found: JobSample[] = [];
  for await (const sample of client.list(`${pathOf(job)}/samples?label=${label}&limit=100`, JobSample)) found.push(sample);
  return found;
}
