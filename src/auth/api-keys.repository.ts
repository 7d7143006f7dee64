import { Injectable } from '@nestjs/common';
import { Database, rowsOf, type Tx } from '../database/database.js';
import { prepared } from '../database/prepared.js';
import type { Scope } from '../http/scopes.js';

/** A key as the database knows it; never its text. Times are Unix seconds. */
export interface ApiKeyRow {
  readonly id: string;
  readonly name: string;
  readonly last4: string;
  readonly scopes: readonly Scope[];
  readonly created_at: number;
  readonly expires_at: number | null;
  readonly revoked_at: number | null;
  readonly last_used_at: number | null;
}

/** A key being used. */
export interface UsedKeyRow {
  readonly id: string;
  readonly hash: Buffer;
  readonly scopes: readonly Scope[];
  readonly expired: boolean;
  readonly revoked: boolean;
  /** Whether the last use on record is a minute old. */
  readonly use_is_news: boolean;
}

const seconds = (column: string): string => `floor(extract(epoch from ${column}))::bigint as ${column}`;
const COLUMNS = `id, name, last4, scopes, ${['created_at', 'expires_at', 'revoked_at', 'last_used_at'].map(seconds).join(', ')}`;

const FIND_BY_HASH = prepared(
  'find_key',
  `select id, hash, scopes, coalesce(expires_at <= clock_timestamp(), false) as expired, revoked_at is not null as revoked,
          coalesce(last_used_at < clock_timestamp() - interval '1 minute', true) as use_is_news
     from api_keys where hash = $1`,
);

/** Statements on `api_keys`. */
@Injectable()
export class ApiKeysRepository {
  constructor(private readonly database: Database) {}

  async insert(tx: Tx, key: { id: string; name: string; hash: Buffer; last4: string; scopes: readonly Scope[]; expiresInSeconds: number | null }): Promise<ApiKeyRow> {
    const [row] = await rowsOf<ApiKeyRow>(
      tx,
      `insert into api_keys (id, name, hash, last4, scopes, expires_at) values ($1, $2, $3, $4, $5, clock_timestamp() + $6 * interval '1 second') returning ${COLUMNS}`,
      [key.id, key.name, key.hash, key.last4, key.scopes, key.expiresInSeconds],
    );
    return row;
  }

  async findByHash(hash: Buffer): Promise<UsedKeyRow | undefined> {
    const [row] = await this.database.query<UsedKeyRow>(FIND_BY_HASH, [hash]);
    return row;
  }

  async recordUse(id: string): Promise<void> {
    await this.database.query('update api_keys set last_used_at = clock_timestamp() where id = $1', [id]);
  }

  /** Newest first, those after the key `after`; none when that key does not exist. */
  list(limit: number, after?: string): Promise<ApiKeyRow[]> {
    const older = after === undefined ? '' : 'where (api_keys.created_at, id) < (select a.created_at, a.id from api_keys a where a.id = $2)';
    return this.database.query<ApiKeyRow>(`select ${COLUMNS} from api_keys ${older} order by api_keys.created_at desc, id desc limit $1`, after === undefined ? [limit] : [limit, after]);
  }

  /** Revokes a key; one that is revoked already keeps its time. */
  async revoke(id: string): Promise<ApiKeyRow | undefined> {
    const [row] = await this.database.query<ApiKeyRow>(`update api_keys set revoked_at = coalesce(revoked_at, clock_timestamp()) where id = $1 returning ${COLUMNS}`, [id]);
    return row;
  }
}
