import { timingSafeEqual } from 'node:crypto';
import { Injectable, Logger } from '@nestjs/common';
import { newId } from '../common/ids.js';
import type { Database, Tx } from '../database/database.js';
import type { Caller } from '../http/caller.js';
import type { Scope } from '../http/scopes.js';
import { ApiKeyHasher, looksLikeApiKey, newApiKey } from './api-key.js';
import { ApiKeysRepository, type ApiKeyRow } from './api-keys.repository.js';
import { KeyExpired, KeyInvalid, KeyMissing, KeyRevoked, KeyUnknown } from './auth.errors.js';

/** What a new key is to be. */
export interface NewKey {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** From now; by default never. */
  readonly expiresInSeconds?: number | null;
}

/** A key just made: the only time its text is known. */
export interface MadeKey {
  readonly row: ApiKeyRow;
  readonly text: string;
}

/** API keys: making, listing, revoking, and telling whose request it is. */
@Injectable()
export class AuthService {
  private readonly logger = new Logger('Auth');

  constructor(
    private readonly keys: ApiKeysRepository,
    private readonly hasher: ApiKeyHasher,
  ) {}

  /** Outside the API process, on a database of its own. @param masterKey that of the API */
  static over(database: Database, masterKey: string): AuthService {
    return new AuthService(new ApiKeysRepository(database), new ApiKeyHasher(masterKey));
  }

  async createKey(tx: Tx, { name, scopes, expiresInSeconds = null }: NewKey): Promise<MadeKey> {
    const text = newApiKey();
    const row = await this.keys.insert(tx, { id: newId('key'), name, hash: this.hasher.hash(text), last4: text.slice(-4), scopes: [...new Set(scopes)], expiresInSeconds });
    return { row, text };
  }

  /** @param limit rows at most. Newest first. */
  list(limit: number, after?: string): Promise<ApiKeyRow[]> {
    return this.keys.list(limit, after);
  }

  /** From now on the key is refused. @throws KeyUnknown */
  async revoke(id: string): Promise<ApiKeyRow> {
    const row = await this.keys.revoke(id);
    if (!row) throw new KeyUnknown(id);
    return row;
  }

  /**
   * Whose key this is. The database is asked every time, so that a revoked key is refused at once.
   * @throws KeyMissing, KeyInvalid, KeyExpired, KeyRevoked
   */
  async callerOf(text: string | undefined): Promise<Caller> {
    if (text === undefined || text === '') throw new KeyMissing();
    if (!looksLikeApiKey(text)) throw new KeyInvalid(true);
    const hash = this.hasher.hash(text);
    const key = await this.keys.findByHash(hash);
    if (!key || !timingSafeEqual(key.hash, hash)) throw new KeyInvalid(false);
    if (key.revoked) throw new KeyRevoked();
    if (key.expired) throw new KeyExpired();
    if (key.use_is_news) this.recordUse(key.id);
    return { keyId: key.id, scopes: key.scopes };
  }

  // Nobody waits for it: a request is not slower, nor refused, because its use could not be written.
  private recordUse(id: string): void {
    this.keys.recordUse(id).catch((error: unknown) => this.logger.warn({ err: error, key_id: id }, 'the use of an API key could not be recorded'));
  }
}
