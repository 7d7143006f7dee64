import { z } from 'zod';
import { StateDamaged } from './distillation.errors.js';
import type { StageAccount } from './report.js';
import type { RunStore } from './store.js';

/** Reads a committed JSON file; undefined when the run has not come that far. @throws StateDamaged */
export async function readState<Schema extends z.ZodType>(store: RunStore, name: string, schema: Schema): Promise<z.output<Schema> | undefined> {
  const bytes = await store.read(name);
  if (bytes === undefined) return undefined;
  const result = schema.safeParse(parseJson(bytes, name));
  if (result.success) return result.data;
  throw new StateDamaged(`${name} is not what a run writes (${result.error.issues[0].path.join('.')}: ${result.error.issues[0].message}); start anew in an empty directory`);
}

/** Commits a JSON file: from here on the run counts it as done. */
export async function writeState(store: RunStore, name: string, value: object): Promise<void> {
  await store.write(name, Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`));
}

/** What a stage cost, as state files hold it. */
export const accountSchema = z.strictObject({ seconds: z.number().min(0), tokens: z.int().min(0), teacher_calls: z.int().min(0) });

/** Costs of nothing. */
export const NO_COST: StageAccount = { seconds: 0, tokens: 0, teacher_calls: 0 };

/** The sum of two costs. */
export function addCosts(a: StageAccount, b: StageAccount): StageAccount {
  return { seconds: a.seconds + b.seconds, tokens: a.tokens + b.tokens, teacher_calls: a.teacher_calls + b.teacher_calls };
}

function parseJson(bytes: Uint8Array, name: string): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new StateDamaged(`${name} is not JSON; start anew in an empty directory`, { cause });
  }
}
