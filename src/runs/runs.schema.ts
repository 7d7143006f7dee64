import { z } from 'zod';
import { serviceSpecSchema } from '../distillation/spec.js';
import { listSchema, pageFields } from '../http/page.js';
import { RUN_STATUSES, STAGE_STATUSES } from './run-states.js';

const METADATA_PAIRS = 16;

/** Pairs that a job carries for its owner: at most 16, keys to 64, values to 512 characters. */
export const Metadata = z
  .record(z.string().min(1).max(64), z.string().max(512))
  .refine((pairs) => Object.keys(pairs).length <= METADATA_PAIRS, `at most ${METADATA_PAIRS} pairs`);

const refused = (instead: string) => z.null(`not accepted; ${instead}`).optional();

/** Body of a creation: the job file's fields, with ids of registered things in place of paths and addresses. */
export const CreateJob = serviceSpecSchema
  .extend({
    validation_file: serviceSpecSchema.shape.validation_file.describe('Id of the held-out prompts, of /v1/files; needed, because what a distillation gains is measured on them'),
    seed: z.int().min(0).nullish().describe('Of every random number of the job; 0 when left out'),
    suffix: serviceSpecSchema.shape.suffix.unwrap().nullish().describe("Goes into the student's name"),
    metadata: Metadata.nullish(),
    hyperparameters: refused('the fields of method.distillation say how to train'),
    integrations: refused('read /stream or /metrics of the job instead'),
  })
  .meta({ id: 'CreateJob' });
export type CreateJob = z.output<typeof CreateJob>;

/** `?dry_run=true`: the job ends after validation. */
export const CreateJobQuery = z.strictObject({ dry_run: z.enum(['true', 'false']).default('false').describe('End after validation, with its plan') });
export type CreateJobQuery = z.output<typeof CreateJobQuery>;

/** Query of the list of jobs; metadata comes as `metadata[key]=value`. */
export const ListJobsQuery = z.strictObject({
  ...pageFields,
  status: z.enum(RUN_STATUSES).optional(),
  model: z.string().min(1).max(64).optional().describe('Name of the student the jobs began from'),
  metadata: Metadata.optional().describe('Pairs a job must carry, each as metadata[key]=value'),
});
export type ListJobsQuery = z.output<typeof ListJobsQuery>;

const seconds = z.int().describe('Unix seconds');
const failure = z.object({ code: z.string(), message: z.string(), param: z.string().nullable() });
const count = z.number().min(0);

const progress = z.object({
  percent: z.number().min(0).max(100).describe('Of the work that label names'),
  done: count,
  total: count,
  unit: z.string(),
  label: z.string(),
  rate: count.describe('Units a second'),
  stage: z.string(),
});

const stage = z.object({
  name: z.string(),
  status: z.enum(STAGE_STATUSES).describe('Others may come'),
  started_at: seconds.nullable(),
  finished_at: seconds.nullable(),
  epoch: z.int().describe('How often a worker claimed it'),
  node: z.string().nullable(),
  progress: progress.omit({ stage: true }).nullable(),
  error: failure.nullable(),
});

/** A job in the shape of the OpenAI API, with what a distillation adds. Clients must bear unknown fields and statuses. */
export const Job = z
  .object({
    id: z.string(),
    object: z.literal('fine_tuning.job'),
    created_at: seconds,
    finished_at: seconds.nullable(),
    estimated_finish: seconds.nullable().describe('Of the stage at work; null while it cannot be told'),
    model: z.string(),
    fine_tuned_model: z.string().nullable().describe('Name of the finished student, of /v1/models'),
    organization_id: z.literal('limbeck'),
    training_file: z.string(),
    validation_file: z.string(),
    result_files: z.array(z.string()),
    status: z.enum(RUN_STATUSES).describe('Others may come'),
    error: failure.nullable(),
    trained_tokens: count.nullable().describe('Tokens gone through distill and align; null until succeeded'),
    seed: z.int(),
    suffix: z.string(),
    hyperparameters: z.object({}),
    integrations: z.null(),
    method: z.object({ type: z.literal('distillation'), distillation: z.record(z.string(), z.unknown()).describe('The spec, every default filled in') }),
    metadata: z.record(z.string(), z.string()),
    dry_run: z.boolean(),
    pause_requested_at: seconds.nullable(),
    cancel_requested_at: seconds.nullable(),
    status_details: z.object({
      stage: z.string().nullable().describe('The stage at work or next'),
      waiting_reason: z.enum(['worker', 'resume', 'teacher_unavailable']).nullable().describe('worker: no worker has taken the stage yet; resume: the job is paused; teacher_unavailable: the stage waits for a teacher that does not answer'),
      paused_for: failure.nullable().describe('Why a paused job paused by itself; null when it was asked to'),
      restarts: z
        .record(z.string(), z.int())
        .describe('How often a stage was begun again, by cause: preempted (its worker was told to end), lost (its worker vanished), infra (disk or system), trainer_error (the engine died or hung)'),
      stages: z.array(stage),
    }),
    progress: progress.nullable().describe('Of the stage at work'),
    usage: z.object({
      student_tokens: count,
      teacher_requests: count.describe('Prompts answered plus sequences scored'),
      teacher_attempts: count.describe('Requests sent to the teacher, retries and those of attempts that were lost included'),
      seconds: count,
      device_seconds: z.record(z.string(), count).describe('By stage'),
    }),
    lineage: z.object({
      base_model: z.string(),
      training_sha256: z.string(),
      validation_sha256: z.string(),
      teacher: z.object({ id: z.string(), name: z.string(), model: z.string(), dialect: z.string() }),
      spec_hash: z.string(),
      limbeck_version: z.string(),
    }),
    plan: z.unknown().describe('What validation foresees: steps, tokens, teacher requests, memory, and its checks; null before'),
    report: z.unknown().describe('What the finished job measured; null before'),
  })
  .meta({ id: 'Job' });
export type Job = z.output<typeof Job>;

export const JobList = listSchema(Job).meta({ id: 'JobList' });

/** Answer to a deletion. */
export const JobDeleted = z.object({ id: z.string(), object: z.literal('fine_tuning.job'), deleted: z.literal(true) }).meta({ id: 'JobDeleted' });
export type JobDeleted = z.output<typeof JobDeleted>;
