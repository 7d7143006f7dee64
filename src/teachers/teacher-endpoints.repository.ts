import { rowsOf, type Database, type Tx } from '../database/database.js';

/** The channel that tells of a changed endpoint; its payload is the address. */
export const TEACHER_ENDPOINTS = 'teacher_endpoints';

/** A row of `teacher_endpoints`; times are Unix milliseconds of the database's clock. */
export interface EndpointRow {
  readonly concurrency: number;
  readonly cutAt: number;
  readonly heldUntil: number;
  /** Recent calls, by halves of a window; marked are those that failed. */
  readonly calls: { readonly at: number; readonly all: number; readonly marked: number; readonly allBefore: number; readonly markedBefore: number };
  readonly openedAt: number | null;
  readonly probeAt: number | null;
  readonly failedProbes: number;
}

/** A row that is locked, and what time it is. */
export interface LockedEndpoint {
  readonly row: EndpointRow;
  readonly now: number;
}

const ms = (column: string): string => `(extract(epoch from ${column}) * 1000)::float8`;
const time = (parameter: string): string => `to_timestamp(${parameter}::float8 / 1000)`;
const COLUMNS = [
  'concurrency, calls, failed_probes as "failedProbes"',
  ...[['cut_at', 'cutAt'], ['held_until', 'heldUntil'], ['opened_at', 'openedAt'], ['probe_at', 'probeAt'], ['clock_timestamp()', 'now']].map(([column, field]) => `${ms(column)} as "${field}"`),
].join(', ');

/** Every query on the endpoints of teachers. */
export class TeacherEndpointsRepository {
  constructor(private readonly database: Database) {}

  transaction<Result>(work: (tx: Tx) => Promise<Result>): Promise<Result> {
    return this.database.transaction(work);
  }

  /** @returns undefined when there is none. */
  async lock(tx: Tx, baseUrl: string): Promise<LockedEndpoint | undefined> {
    const [found] = await rowsOf<EndpointRow & { readonly now: number }>(tx, `select ${COLUMNS} from teacher_endpoints where base_url = $1 for update`, [baseUrl]);
    if (!found) return undefined;
    const { now, ...row } = found;
    return { row, now };
  }

  async insert(tx: Tx, baseUrl: string, { concurrency, calls }: Pick<EndpointRow, 'concurrency' | 'calls'>): Promise<void> {
    await tx.query('insert into teacher_endpoints (base_url, concurrency, calls) values ($1, $2, $3::jsonb) on conflict do nothing', [baseUrl, concurrency, JSON.stringify(calls)]);
  }

  /** @param told whether all who ask the endpoint are to look at once. */
  async save(tx: Tx, baseUrl: string, { row, told }: { readonly row: EndpointRow; readonly told: boolean }): Promise<void> {
    await tx.query(
      `update teacher_endpoints set concurrency = $2, cut_at = ${time('$3')}, held_until = ${time('$4')}, calls = $5::jsonb, opened_at = ${time('$6')}, probe_at = ${time('$7')}, failed_probes = $8
       where base_url = $1`,
      [baseUrl, row.concurrency, row.cutAt, row.heldUntil, JSON.stringify(row.calls), row.openedAt, row.probeAt, row.failedProbes],
    );
    if (told) await tx.query('select pg_notify($1, $2)', [TEACHER_ENDPOINTS, baseUrl]);
  }

  /** Notes that a node asks the endpoint. @returns how many other nodes do, and how many of those come before it; who was silent for `silentMs` no longer does. */
  async attend(tx: Tx, baseUrl: string, { nodeId, silentMs }: { readonly nodeId: string; readonly silentMs: number }): Promise<{ readonly others: number; readonly before: number }> {
    await tx.query(
      `insert into teacher_endpoint_askers (base_url, node_id) values ($1, $2)
       on conflict (base_url, node_id) do update set seen_at = clock_timestamp()`,
      [baseUrl, nodeId],
    );
    const [found] = await rowsOf<{ others: number; before: number }>(
      tx,
      `select count(*) as others, count(*) filter (where node_id < $2) as before from teacher_endpoint_askers
       where base_url = $1 and node_id <> $2 and seen_at > clock_timestamp() - $3 * interval '1 millisecond'`,
      [baseUrl, nodeId, silentMs],
    );
    return found;
  }

  /** Takes probes that are due: nobody else does so for `takenMs`. @returns the addresses. */
  async takeProbes(takenMs: number): Promise<string[]> {
    const rows = await this.database.query<{ base_url: string }>(
      `update teacher_endpoints set probe_at = clock_timestamp() + $1 * interval '1 millisecond'
       where base_url in (select base_url from teacher_endpoints where opened_at is not null and probe_at <= clock_timestamp() for update skip locked limit 16)
       returning base_url`,
      [takenMs],
    );
    return rows.map(({ base_url }) => base_url);
  }

  async remove(baseUrl: string): Promise<void> {
    await this.database.query('delete from teacher_endpoints where base_url = $1', [baseUrl]);
  }
}
