import { z } from 'zod';

/** What a stage cost, as state files hold it. */
export const accountSchema = z.strictObject({ seconds: z.number().min(0), tokens: z.int().min(0), teacher_calls: z.int().min(0) });
