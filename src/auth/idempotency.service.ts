import { createHash } from 'node:crypto';
import { Inject, Injectable, Logger, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import type { Request } from 'express';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { Database, type Tx } from '../database/database.js';
import type { Caller } from '../http/caller.js';
import { IdempotencyInFlight, IdempotencyKeyInvalid, IdempotencyMismatch } from './auth.errors.js';
import { IdempotencyRepository } from './idempotency.repository.js';

/** What a POST that creates answers. */
export interface Creation<Body> {
  readonly status: number;
  readonly body: Body;
  /** What a repeated request is answered instead, where the body holds a secret that is shown once; kept in the database. */
  readonly kept?: unknown;
}

const PRINTABLE = /^[\x20-\x7e]{1,255}$/;
const SWEEPS_PER_KEEPING = 24;

/** Lets a client repeat a POST without creating twice. */
@Injectable()
export class IdempotencyService implements OnModuleInit, OnApplicationShutdown {
  private readonly logger = new Logger('Idempotency');
  private sweeper: NodeJS.Timeout | undefined;

  constructor(
    private readonly database: Database,
    private readonly answers: IdempotencyRepository,
    @Inject(API_SETTINGS) private readonly settings: Pick<ApiSettings, 'idempotencyMs'>,
  ) {}

  /**
   * Runs `work` in one transaction, at most once for each Idempotency-Key of a caller; without that header, just in a transaction. Sets the status of
   * the answer, and `idempotent-replayed: true` where it is the first one again.
   * @param options.oneStatement `work` writes by one statement, which is a transaction by itself
   * @param options.body what stands for the body where it is not JSON, such as the SHA-256 of an uploaded file
   * @returns the body to answer
   * @throws IdempotencyKeyInvalid, IdempotencyInFlight, IdempotencyMismatch; whatever `work` throws, which creates and keeps nothing
   */
  async once<Body>(request: Request, caller: Caller, work: (tx: Tx) => Promise<Creation<Body>>, options: { readonly body?: string; readonly oneStatement?: boolean } = {}): Promise<Body> {
    const key = request.header('idempotency-key');
    if (key === undefined) return this.answer(request, await (options.oneStatement ? this.database.alone(work) : this.database.transaction(work)));
    if (!PRINTABLE.test(key)) throw new IdempotencyKeyInvalid();
    const asked = { route: `${request.method} ${request.originalUrl}`, bodyHash: sha256(options.body ?? JSON.stringify(request.body ?? null)) };
    const creation = await this.database.transaction((tx) => this.firstOrAgain(tx, { apiKeyId: caller.keyId, key, ...asked }, work));
    if (creation.replayed) request.res?.set('idempotent-replayed', 'true');
    return this.answer(request, creation);
  }

  onModuleInit(): void {
    const sweep = (): void => void this.answers.sweep(this.settings.idempotencyMs).catch((error: unknown) => this.logger.warn({ err: error }, 'old answers could not be swept'));
    this.sweeper = setInterval(sweep, Math.ceil(this.settings.idempotencyMs / SWEEPS_PER_KEEPING)).unref();
  }

  onApplicationShutdown(): void {
    clearInterval(this.sweeper);
  }

  private async firstOrAgain<Body>(
    tx: Tx,
    asked: { readonly apiKeyId: string; readonly key: string; readonly route: string; readonly bodyHash: Buffer },
    work: (tx: Tx) => Promise<Creation<Body>>,
  ): Promise<Creation<Body> & { readonly replayed: boolean }> {
    if (!(await this.answers.lock(tx, asked))) throw new IdempotencyInFlight();
    const first = await this.answers.find(tx, asked, this.settings.idempotencyMs);
    if (first) {
      if (first.route !== asked.route || !first.bodyHash.equals(asked.bodyHash)) throw new IdempotencyMismatch();
      return { status: first.status, body: first.response as Body, replayed: true };
    }
    const creation = await work(tx);
    await this.answers.keep(tx, asked, { ...asked, status: creation.status, response: creation.kept ?? creation.body });
    return { ...creation, replayed: false };
  }

  private answer<Body>(request: Request, { status, body }: Creation<Body>): Body {
    request.res?.status(status);
    return body;
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
