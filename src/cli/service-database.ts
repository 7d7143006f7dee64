import { createDataSource } from '../database/data-source.js';
import { Database } from '../database/database.js';

const ONE_CONNECTION = { poolSize: 1, statementMs: 30_000, connectMs: 5_000 };

/** Opens the database for one piece of work of a command. */
export async function withDatabase<Result>(url: string, work: (database: Database) => Promise<Result>): Promise<Result> {
  const database = new Database(await createDataSource({ url, ...ONE_CONNECTION }).initialize());
  return work(database).finally(() => database.onApplicationShutdown());
}
