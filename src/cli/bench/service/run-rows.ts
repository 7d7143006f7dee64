import type pg from 'pg';
import { newId } from '../../../common/ids.js';

type Row = Readonly<Record<string, unknown>>;

/** The rows that a submission leaves, ready to be written again as another run's. */
export interface RunRows {
  readonly run: Row;
  readonly stages: readonly Row[];
  readonly events: readonly Row[];
}

/** Reads what the submission of a run left. */
export async function readRunRows(client: pg.Client, id: string): Promise<RunRows> {
  const rows = async (sql: string): Promise<Row[]> => (await client.query<Row>(sql, [id])).rows;
  const [run] = await rows('select * from runs where id = $1');
  const stages = (await rows('select * from stages where run_id = $1 order by ordinal')).map(({ id: _, ...stage }) => stage);
  return { run, stages, events: await rows('select * from events where run_id = $1 order by seq') };
}

/** Writes the rows as a new run in one transaction, a statement a table: the least that any service would do. */
export async function writeRunRows(client: pg.ClientBase, { run, stages, events }: RunRows): Promise<void> {
  const id = newId('ftjob');
  const of = (row: Row): Row => ({ ...row, run_id: id });
  await client.query('begin');
  await insert(client, 'runs', [{ ...run, id, created_at: new Date() }]);
  await insert(client, 'stages', stages.map(of));
  await insert(client, 'events', events.map(of));
  await client.query('commit');
}

async function insert(client: pg.ClientBase, table: string, rows: readonly Row[]): Promise<void> {
  const columns = Object.keys(rows[0]);
  const places = rows.map((_, row) => `(${columns.map((__, column) => `$${row * columns.length + column + 1}`).join(', ')})`);
  await client.query(`insert into ${table} (${columns.join(', ')}) values ${places.join(', ')}`, rows.flatMap((row) => columns.map((column) => sendable(row[column]))));
}

function sendable(value: unknown): unknown {
  return typeof value === 'object' && value !== null && !(value instanceof Date) ? JSON.stringify(value) : value;
}
