import { Database, rowsOf, type Tx } from '../database/database.js';
import type { TeacherProbe } from './teacher.schema.js';

/** A row of `teachers`; times are Unix seconds. */
export interface TeacherRow {
  readonly id: string;
  readonly name: string;
  readonly dialect: 'vllm';
  readonly base_url: string;
  readonly model: string;
  readonly api_key_sealed: Buffer | null;
  readonly api_key_last4: string | null;
  readonly created_at: number;
  readonly probe: TeacherProbe | null;
}

export type NewTeacherRow = Omit<TeacherRow, 'created_at' | 'probe'>;

const COLUMNS = 'id, name, dialect, base_url, model, api_key_sealed, api_key_last4, floor(extract(epoch from created_at))::bigint as created_at, probe';

export class TeacherRepository {
  constructor(private readonly database: Database) {}

  /** @returns undefined when the name is taken. */
  async insert(tx: Tx, row: NewTeacherRow): Promise<TeacherRow | undefined> {
    const rows = await rowsOf<TeacherRow>(
      tx,
      `insert into teachers (id, name, dialect, base_url, model, api_key_sealed, api_key_last4)
       values ($1, $2, $3, $4, $5, $6, $7)
       on conflict (name) do nothing
       returning ${COLUMNS}`,
      [row.id, row.name, row.dialect, row.base_url, row.model, row.api_key_sealed, row.api_key_last4],
    );
    return rows.at(0);
  }

  async find(id: string): Promise<TeacherRow | undefined> {
    const rows = await this.database.query<TeacherRow>(`select ${COLUMNS} from teachers where id = $1`, [id]);
    return rows.at(0);
  }

  /** The first teacher that was registered at an address. */
  async at(baseUrl: string): Promise<TeacherRow | undefined> {
    const rows = await this.database.query<TeacherRow>(`select ${COLUMNS} from teachers where base_url = $1 order by teachers.created_at, id limit 1`, [baseUrl]);
    return rows.at(0);
  }

  /** Newest first, `limit + 1` at most; behind the teacher `after`, when it is given. */
  page({ after, limit }: { readonly after?: string; readonly limit: number }): Promise<TeacherRow[]> {
    return this.database.query<TeacherRow>(
      `select ${COLUMNS} from teachers t
       where $1::text is null or (t.created_at, t.id) < (select created_at, id from teachers where id = $1)
       order by t.created_at desc, t.id desc
       limit $2 + 1`,
      [after ?? null, limit],
    );
  }

  /** Keeps what a probe found; the time is the database's. */
  async saveProbe(id: string, probe: Omit<TeacherProbe, 'checked_at'>): Promise<TeacherProbe | undefined> {
    const rows = await this.database.query<{ probe: TeacherProbe }>(
      `update teachers
       set probed_at = now(), probe = $2::jsonb || jsonb_build_object('checked_at', floor(extract(epoch from now()))::bigint)
       where id = $1
       returning probe`,
      [id, JSON.stringify(probe)],
    );
    return rows.at(0)?.probe;
  }

  /** @returns whether there was one. @throws the database's own error while runs refer to it */
  async remove(id: string): Promise<boolean> {
    const rows = await this.database.query<{ id: string }>('delete from teachers where id = $1 returning id', [id]);
    return rows.length > 0;
  }
}
