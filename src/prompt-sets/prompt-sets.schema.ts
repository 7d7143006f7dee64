import { z } from 'zod';
import { listSchema, pageFields } from '../http/page.js';
import type { FileRow } from './prompt-sets.repository.js';

const PROMPT_FILE = 'One prompt a line: {"messages":[{"role":"user","content":"…"}], "answer"?: "…", "mode"?: "…"}';

/** The multipart body. The file itself never passes here: it is on the disk before the fields are looked at. */
export const UploadFields = z
  .strictObject({ purpose: z.literal('fine-tune'), file: z.unknown().optional().meta({ type: 'string', format: 'binary', description: PROMPT_FILE }) })
  .meta({ required: ['file', 'purpose'] });
export type UploadFields = z.output<typeof UploadFields>;

export const FilePath = z.strictObject({ id: z.string().max(128).describe('file-…') });
export type FilePath = z.output<typeof FilePath>;

export const ListFilesQuery = z.strictObject({
  ...pageFields,
  order: z.enum(['asc', 'desc']).default('desc').describe('By age; newest first is desc'),
  purpose: z.literal('fine-tune').optional(),
});
export type ListFilesQuery = z.output<typeof ListFilesQuery>;

export const FileObject = z
  .object({
    id: z.string(),
    object: z.literal('file'),
    bytes: z.int(),
    created_at: z.int().describe('Unix seconds'),
    filename: z.string(),
    purpose: z.string(),
    status: z.literal('processed').describe('A file is checked while it is sent, so it is never in another state'),
    prompts: z.int().describe('Prompts in the file'),
  })
  .meta({ id: 'File' });
export type FileObject = z.output<typeof FileObject>;

export const FileList = listSchema(FileObject).meta({ id: 'FileList' });

export const FileDeleted = z.object({ id: z.string(), object: z.literal('file'), deleted: z.literal(true) }).meta({ id: 'FileDeleted' });
export type FileDeleted = z.output<typeof FileDeleted>;

/** The row as callers see it. */
export function fileObject({ id, bytes, created_at, filename, purpose, prompts }: FileRow): FileObject {
  return { id, object: 'file', bytes, created_at, filename, purpose, status: 'processed', prompts };
}
