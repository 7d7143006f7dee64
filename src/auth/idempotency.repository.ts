import { Injectable } from '@nestjs/common';
import { Database, rowsOf, type Tx } from '../database/database.js';

/** Whose key, and which. */
export interface IdempotencyKey {
  readonly apiKeyId: string;
  readonly key: string;
}

/** The request that a key was first used for, and its answer. */
export interface KeptAnswer {
  readonly route: string;
  readonly bodyHash: Buffer;
  readonly status: number;
  readonly response: unknown;
}

interface Row {
  readonly route: string;
  readonly body_hash: Buffer;
  readonly status: number;
  readonly response: unknown;
}

@Injectable()
export class IdempotencyRepository {
  constructor(private readonly database: Database) {}

  /** Takes the key until the transaction ends. @returns false when another transaction has it. */
  async lock(tx: Tx, { apiKeyId, key }: IdempotencyKey): Promise<boolean> {
    const [row] = await rowsOf<{ locked: boolean }>(tx, `select pg_try_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0)) as locked`, [apiKeyId, key]);
    return row.locked;
  }

  /** @param keepMs answers older than this are forgotten */
  async find(tx: Tx, { apiKeyId, key }: IdempotencyKey, keepMs: number): Promise<KeptAnswer | undefined> {
    const [row] = await rowsOf<Row>(
      tx,
      `select route, body_hash, status, response from idempotency_keys
        where api_key_id = $1 and key = $2 and created_at > clock_timestamp() - $3 * interval '1 millisecond'`,
      [apiKeyId, key, keepMs],
    );
    return row && { route: row.route, bodyHash: row.body_hash, status: row.status, response: row.response };
  }

  /** Keeps an answer, in place of one that is forgotten. */
  async keep(tx: Tx, { apiKeyId, key }: IdempotencyKey, { route, bodyHash, status, response }: KeptAnswer): Promise<void> {
    await tx.query(
      `insert into idempotency_keys (api_key_id, key, route, body_hash, status, response) values ($1, $2, $3, $4, $5, $6)
       on conflict (api_key_id, key) do update set route = excluded.route, body_hash = excluded.body_hash, status = excluded.status,
         response = excluded.response, created_at = excluded.created_at`,
      [apiKeyId, key, route, bodyHash, status, JSON.stringify(response)],
    );
  }

  async sweep(keepMs: number): Promise<void> {
    await this.database.query(`delete from idempotency_keys where created_at < clock_timestamp() - $1 * interval '1 millisecond'`, [keepMs]);
  }
}
