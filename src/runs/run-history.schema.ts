import { z } from 'zod';
import { listSchema, pageFields } from '../http/page.js';

/** A job's id in the path. */
export const JobPath = z.strictObject({ id: z.string().min(1).max(64) });
export type JobPath = z.output<typeof JobPath>;

const seconds = z.int().describe('Unix seconds');

/** What happened to a job, in the shape of the OpenAI API. Further types may come. */
export const JobEvent = z
  .object({
    id: z.string(),
    object: z.literal('fine_tuning.job.event'),
    created_at: seconds,
    level: z.enum(['info', 'warn', 'error']),
    message: z.string(),
    type: z.literal('message'),
    data: z.looseObject({ type: z.string().describe('Such as stage.started'), seq: z.int().describe('Place in the job\'s feed') }),
  })
  .meta({ id: 'JobEvent' });
export type JobEvent = z.output<typeof JobEvent>;
export const JobEventList = listSchema(JobEvent).meta({ id: 'JobEventList' });

/** A checkpoint in the shape of the OpenAI API. */
export const JobCheckpoint = z
  .object({
    id: z.string(),
    object: z.literal('fine_tuning.job.checkpoint'),
    created_at: seconds,
    fine_tuning_job_id: z.string(),
    fine_tuned_model_checkpoint: z.string().describe('Its name within the job'),
    step_number: z.int(),
    metrics: z.record(z.string(), z.unknown()),
    stage: z.string(),
    state: z.enum(['committed', 'expired', 'quarantined']),
    bytes: z.int(),
  })
  .meta({ id: 'JobCheckpoint' });
export type JobCheckpoint = z.output<typeof JobCheckpoint>;
export const JobCheckpointList = listSchema(JobCheckpoint).meta({ id: 'JobCheckpointList' });

export const SamplesQuery = z.strictObject({ ...pageFields, label: z.string().min(1).max(64).optional().describe('Evaluation, such as before or after_align') });
export type SamplesQuery = z.output<typeof SamplesQuery>;

/** A held-out prompt with what teacher and student wrote to it, special tokens included. */
export const JobSample = z
  .object({
    id: z.string(),
    object: z.literal('fine_tuning.job.sample'),
    label: z.string(),
    index: z.int().describe('Place of the prompt among the held-out ones'),
    prompt: z.string(),
    teacher: z.string().nullable(),
    student: z.string(),
  })
  .meta({ id: 'JobSample' });
export type JobSample = z.output<typeof JobSample>;
export const JobSampleList = listSchema(JobSample).meta({ id: 'JobSampleList' });

/** Query of a stream. */
export const StreamQuery = z.strictObject({
  last_event_id: z.coerce.number().int().min(0).default(0).describe('As the header Last-Event-ID, for clients that cannot set it'),
});
export type StreamQuery = z.output<typeof StreamQuery>;

/** The number in a Last-Event-ID header; undefined when it holds none, as in a first request. */
export function lastSeen(header: string | undefined): number | undefined {
  return header !== undefined && /^\d{1,15}$/.test(header) ? Number(header) : undefined;
}
