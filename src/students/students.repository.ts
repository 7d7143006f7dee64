import { Database, rowsOf, type Tx } from '../database/database.js';
import type { StudentFile } from './student-account.js';

/** A model as the database knows it. */
export interface StudentRow {
  readonly name: string;
  readonly source: 'uploaded' | 'distilled';
  /** What it was made from, as its maker says; null when nobody said. */
  readonly base: string | null;
  /** The run that made it; null for uploads, and after the run was deleted. */
  readonly run_id: string | null;
  readonly architecture: string;
  readonly parameters: number;
  readonly bytes: number;
  readonly files: readonly StudentFile[];
  /** Its directory below the store's. */
  readonly place: string;
  /** Unix seconds. */
  readonly created_at: number;
}

export type NewStudent = Omit<StudentRow, 'created_at'>;

const COLUMNS = 'name, source, base, run_id, architecture, parameters, bytes, files, place, floor(extract(epoch from created_at))::int8 as created_at';

/** Every query on models. */
export class StudentRepository {
  constructor(private readonly database: Database) {}

  /** @returns undefined when the name is taken; the transaction goes on then. */
  async insert(tx: Tx, { name, source, base, run_id, architecture, parameters, bytes, files, place }: NewStudent): Promise<StudentRow | undefined> {
    const [row] = await rowsOf<StudentRow>(
      tx,
      `insert into models (name, source, base, run_id, architecture, parameters, bytes, files, place) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
       on conflict (name) do nothing returning ${COLUMNS}`,
      [name, source, base, run_id, architecture, parameters, bytes, JSON.stringify(files), place],
    );
    return row;
  }

  async find(name: string, tx?: Tx): Promise<StudentRow | undefined> {
    const sql = `select ${COLUMNS} from models where name = $1`;
    const [row] = tx === undefined ? await this.database.query<StudentRow>(sql, [name]) : await rowsOf<StudentRow>(tx, sql, [name]);
    return row;
  }

  /** Newest first, those after the model `after`; one more than `limit`, to tell whether there are more. */
  list({ after, limit }: { after?: string; limit: number }): Promise<StudentRow[]> {
    return this.database.query<StudentRow>(
      `select ${COLUMNS} from models m
       where $1::text is null or (m.created_at, m.name) < (select created_at, name from models where name = $1)
       order by m.created_at desc, m.name desc limit $2`,
      [after ?? null, limit + 1],
    );
  }

  async isPlaced(place: string): Promise<boolean> {
    return (await this.database.query('select 1 from models where place = $1', [place])).length > 0;
  }

  /** Of these names, those that are taken. */
  async taken(tx: Tx, names: readonly string[]): Promise<Set<string>> {
    const rows = await rowsOf<{ name: string }>(tx, 'select name from models where name = any($1)', [names]);
    return new Set(rows.map(({ name }) => name));
  }

  /** @returns the place of the row that went, undefined when there was none. */
  async remove(tx: Tx, name: string): Promise<string | undefined> {
    const [row] = await rowsOf<{ place: string }>(tx, 'delete from models where name = $1 returning place', [name]);
    return row?.place;
  }
}
