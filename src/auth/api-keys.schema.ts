import { z } from 'zod';
import { listSchema } from '../http/page.js';
import { SCOPES } from '../http/scopes.js';

const YEAR_SECONDS = 366 * 86_400;
const unixSeconds = z.int().describe('Unix seconds');

/** What a key is for, in the words of whoever made it. */
export const ApiKeyName = z.string().trim().min(1).max(64).regex(/^\P{C}+$/u, 'printable characters only');

/** Body of `POST /v1/api_keys`. */
export const CreateApiKey = z.strictObject({
  name: ApiKeyName,
  scopes: z.array(z.enum(SCOPES)).min(1).max(SCOPES.length),
  /** From now, by default never. */
  expires_in_seconds: z.int().min(1).max(10 * YEAR_SECONDS).nullable().default(null),
});
export type CreateApiKey = z.output<typeof CreateApiKey>;

export const ApiKeyObject = z
  .object({
    id: z.string(),
    object: z.literal('api_key'),
    name: z.string(),
    scopes: z.array(z.enum(SCOPES)),
    last4: z.string().describe('The last four characters of the key'),
    created_at: unixSeconds,
    expires_at: unixSeconds.nullable(),
    revoked_at: unixSeconds.nullable(),
    last_used_at: unixSeconds.nullable().describe('Unix seconds, at most a minute old'),
  })
  .meta({ id: 'ApiKey' });
export type ApiKeyObject = z.output<typeof ApiKeyObject>;

export const CreatedApiKey = ApiKeyObject.extend({ key: z.string().nullable().describe('The key itself, shown this once; null when the request is a repetition') }).meta({ id: 'CreatedApiKey' });
export type CreatedApiKey = z.output<typeof CreatedApiKey>;

export const ApiKeyList = listSchema(ApiKeyObject).meta({ id: 'ApiKeyList' });

export const ApiKeyPath = z.strictObject({ id: z.string().max(64) });
export type ApiKeyPath = z.output<typeof ApiKeyPath>;
