import { z } from 'zod';
import { isModelName, MODEL_NAME_RULE } from '../common/model-name.js';
import { listSchema } from '../http/page.js';
import type { StudentRow } from './students.repository.js';

/** The stock clients ask for all models at once, so a page holds what an installation has. */
const MOST_MODELS = 1000;

export const ModelPath = z.strictObject({ name: z.string().max(128).describe("The model's name") });
export type ModelPath = z.output<typeof ModelPath>;

export const ModelFilePath = z.strictObject({ name: z.string().max(128).describe("The model's name"), file: z.string().max(128).describe('A name such as config.json') });
export type ModelFilePath = z.output<typeof ModelFilePath>;

export const ListModelsQuery = z.strictObject({
  after: z.string().min(1).max(128).optional().describe('Name of the last model of the page before'),
  limit: z.coerce.number().int().min(1).max(MOST_MODELS).default(MOST_MODELS).describe('Models on the page'),
});
export type ListModelsQuery = z.output<typeof ListModelsQuery>;

/** Commits a model whose files were sent. */
export const CreateModel = z
  .strictObject({
    id: z.string().refine(isModelName, MODEL_NAME_RULE).describe('The name under which the files were sent'),
    base: z.string().min(1).max(200).optional().describe('What the model was made from, for its readers'),
  })
  .meta({ id: 'CreateModel' });
export type CreateModel = z.output<typeof CreateModel>;

export const ModelFile = z.object({ name: z.string(), bytes: z.int(), sha256: z.string() }).meta({ id: 'ModelFile' });

/** A file that waits to be committed. */
export const StagedFile = z.object({ object: z.literal('model.file'), model: z.string(), name: z.string(), bytes: z.int(), sha256: z.string() }).meta({ id: 'StagedFile' });
export type StagedFile = z.output<typeof StagedFile>;

export const ModelObject = z
  .object({
    id: z.string().describe('The name'),
    object: z.literal('model'),
    created: z.int().describe('Unix seconds'),
    owned_by: z.literal('limbeck'),
    source: z.enum(['uploaded', 'distilled']),
    base: z.string().nullable().describe('What it was made from'),
    job_id: z.string().nullable().describe('The job that made it'),
    architecture: z.string(),
    parameters: z.int(),
    bytes: z.int().describe('Of all files'),
    files: z.array(ModelFile),
  })
  .meta({ id: 'Model' });
export type ModelObject = z.output<typeof ModelObject>;

export const ModelList = listSchema(ModelObject).meta({ id: 'ModelList' });

export const ModelDeleted = z.object({ id: z.string(), object: z.literal('model'), deleted: z.literal(true) }).meta({ id: 'ModelDeleted' });
export type ModelDeleted = z.output<typeof ModelDeleted>;

/** The row as callers see it. */
export function modelObject({ name, created_at, source, base, run_id, architecture, parameters, bytes, files }: StudentRow): ModelObject {
  return { id: name, object: 'model', created: created_at, owned_by: 'limbeck', source, base, job_id: run_id, architecture, parameters, bytes, files: [...files] };
}
