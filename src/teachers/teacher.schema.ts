import { z } from 'zod';
import { listSchema } from '../http/page.js';

/** Body of `POST /v1/teachers`. */
export const NewTeacher = z
  .strictObject({
    name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'lower-case letters, digits, dots, hyphens and underscores, at most 63, beginning with a letter or digit').describe('Unique name'),
    dialect: z.literal('vllm').default('vllm').describe('How the server is spoken to'),
    base_url: z.string().min(1).max(2048).describe('Address of the server, such as http://teacher.example:8000; a trailing /v1 is left out. The operator must have allowed it'),
    model: z.string().min(1).max(256).describe('Name the server serves the model under'),
    api_key: z.string().min(1).max(4096).regex(/^[\x21-\x7e]+$/, 'visible ASCII characters without blanks').optional().describe('Sent as a bearer token; never shown again'),
  })
  .meta({ id: 'NewTeacher' });
export type NewTeacher = z.output<typeof NewTeacher>;

/**
 * What a look at a teacher found, and nothing of what the server said. `ok`: it serves the model. `model_missing`: it answers, but serves others.
 * `refused`: it said no, or the outbound policy did. `unreachable`: no whole answer came, or it is overloaded.
 */
export const TeacherProbe = z.object({
  status: z.enum(['ok', 'unreachable', 'refused', 'model_missing']),
  http_status: z.int().optional().describe('Status of the answer, where one came'),
  reason: z.enum(['outbound_policy', 'name_unknown', 'connection_refused', 'connection_failed', 'tls', 'timeout', 'answer_invalid', 'redirect']).optional().describe('What stood in the way, where the status does not say it'),
  checked_at: z.int().describe('Unix seconds'),
});
export type TeacherProbe = z.output<typeof TeacherProbe>;

export const Teacher = z
  .object({
    id: z.string(),
    object: z.literal('teacher'),
    name: z.string(),
    dialect: z.literal('vllm'),
    base_url: z.string(),
    model: z.string(),
    api_key_last4: z.string().nullable().describe('Last four characters of the key, where it is long enough to show them'),
    created_at: z.int().describe('Unix seconds'),
    probe: TeacherProbe.nullable().describe('The last probe'),
  })
  .meta({ id: 'Teacher' });
export type Teacher = z.output<typeof Teacher>;

export const TeacherList = listSchema(Teacher).meta({ id: 'TeacherList' });

/** Answer of `DELETE /v1/teachers/{id}`. */
export const DeletedTeacher = z.object({ id: z.string(), object: z.literal('teacher'), deleted: z.literal(true) }).meta({ id: 'DeletedTeacher' });
export type DeletedTeacher = z.output<typeof DeletedTeacher>;

export const TeacherPath = z.strictObject({ id: z.string().max(64) });
export type TeacherPath = z.output<typeof TeacherPath>;
