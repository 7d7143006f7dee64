import { Database, rowsOf, type Tx } from '../database/database.js';

/** A prompt file as the database knows it. */
export interface FileRow {
  readonly id: string;
  readonly filename: string;
  readonly purpose: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly prompts: number;
  /** Below the store's directory; files of equal bytes share one. */
  readonly place: string;
  /** Unix seconds. */
  readonly created_at: number;
}

export type NewFile = Omit<FileRow, 'created_at'>;

const COLUMNS = 'id, filename, purpose, bytes, sha256, prompts, place, floor(extract(epoch from created_at))::int8 as created_at';

/** Every query on prompt files. */
export class PromptSetRepository {
  constructor(private readonly database: Database) {}

  async insert(tx: Tx, file: NewFile): Promise<FileRow> {
    const [row] = await rowsOf<FileRow>(
      tx,
      `insert into files (id, filename, purpose, bytes, sha256, prompts, place) values ($1, $2, $3, $4, $5, $6, $7) returning ${COLUMNS}`,
      [file.id, file.filename, file.purpose, file.bytes, file.sha256, file.prompts, file.place],
    );
    return row;
  }

  async find(id: string, tx?: Tx): Promise<FileRow | undefined> {
    const sql = `select ${COLUMNS} from files where id = $1`;
    const [row] = tx === undefined ? await this.database.query<FileRow>(sql, [id]) : await rowsOf<FileRow>(tx, sql, [id]);
    return row;
  }

  /** Newest first unless `order` says otherwise, those after the file `after`; one more than `limit`, to tell whether there are more. */
  list({ after, limit, order }: { after?: string; limit: number; order: 'asc' | 'desc' }): Promise<FileRow[]> {
    const beyond = order === 'desc' ? '<' : '>';
    return this.database.query<FileRow>(
      `select ${COLUMNS} from files f
       where $1::text is null or (f.created_at, f.id) ${beyond} (select created_at, id from files where id = $1)
       order by f.created_at ${order}, f.id ${order} limit $2`,
      [after ?? null, limit + 1],
    );
  }

  /** @returns the place of the row that went, undefined when there was none. */
  async remove(tx: Tx, id: string): Promise<string | undefined> {
    const [row] = await rowsOf<{ place: string }>(tx, 'delete from files where id = $1 returning place', [id]);
    return row?.place;
  }

  /** Keeps others from adding or dropping rows of this place until the transaction ends. */
  async lockPlace(tx: Tx, place: string): Promise<void> {
    await tx.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [place]);
  }

  async isPlaceUsed(tx: Tx, place: string): Promise<boolean> {
    return (await rowsOf(tx, 'select 1 from files where place = $1 limit 1', [place])).length > 0;
  }
}
