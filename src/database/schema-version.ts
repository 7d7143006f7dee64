import { migrations } from '../../migrations/index.js';
import type { Database } from './database.js';
import { SchemaMismatch } from './database.errors.js';

const KNOWN: readonly string[] = migrations.map((Migration) => new Migration().name);

/**
 * Refuses a database whose tables another release made: an older one would fail at some statement, a newer one may be written wrongly.
 * @throws SchemaMismatch, DatabaseUnavailable
 */
export async function requireOwnSchema(database: Pick<Database, 'query'>): Promise<void> {
  const applied = new Set((await appliedMigrations(database)).map(({ name }) => name));
  const missing = KNOWN.filter((name) => !applied.has(name));
  const unknown = [...applied].filter((name) => !KNOWN.includes(name));
  if (missing.length > 0) throw new SchemaMismatch(`the database lacks ${missing.join(', ')}; run "npm run migrate" of this release first`);
  if (unknown.length > 0) throw new SchemaMismatch(`the database has ${unknown.join(', ')} of a newer release; start that release instead`);
}

async function appliedMigrations(database: Pick<Database, 'query'>): Promise<{ name: string }[]> {
  const [table] = await database.query<{ exists: boolean }>(`select to_regclass('migrations') is not null as exists`);
  return table.exists ? database.query<{ name: string }>('select name from migrations') : [];
}
