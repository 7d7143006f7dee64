import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { prepared } from '../../src/database/prepared.js';
import { freshDatabase, type TestDatabase } from '../support/service-servers.js';

const OFTEN = prepared('spec_often', 'select name, 6 / $2::int as share from models where name = $1');
const ADD = `insert into models (name, source, architecture, parameters, bytes, files, place) values ($1, 'uploaded', 'llama', 1, 1, '[]', 'here')`;

let server: TestDatabase;
let database: Database;

beforeEach(async () => {
  server = await freshDatabase();
  database = new Database(await createDataSource({ url: server.url, poolSize: 1, statementMs: 30_000, connectMs: 5_000 }).initialize());
  await database.query(ADD, ['a-student']);
});

afterEach(async () => {
  await database.onApplicationShutdown();
  await server.close();
});

const find = (name: string, among = 2): Promise<unknown[]> => database.query(OFTEN, [name, among]);

it('has the server prepare a marked statement once on a connection, and no other', async () => {
  expect(await find('a-student')).toEqual([{ name: 'a-student', share: 3 }]);
  expect(await find('another')).toEqual([]);
  expect(await database.transaction(async (tx) => (await tx.query<unknown[]>(OFTEN, ['a-student', 1])).length)).toBe(1);
  expect(await database.query('select name, (generic_plans + custom_plans)::int as uses from pg_prepared_statements where $1', [true])).toEqual([{ name: 'spec_often', uses: 3 }]);
});

it('goes on with a marked statement after the table was changed, and after it failed', async () => {
  await find('a-student');
  await database.query('alter table models add column spec_note text');
  expect(await find('a-student')).toHaveLength(1);
  await expect(find('a-student', 0)).rejects.toThrow('division by zero');
  expect(await find('a-student')).toHaveLength(1);
});
