import { Injectable } from '@nestjs/common';
import { AppError } from '../common/errors.js';
import { Database } from '../database/database.js';
import { requireOwnSchema } from '../database/schema-version.js';
import { Draining } from '../http/draining.js';

/** Whether the process may be sent requests, and why not. */
export interface Readiness {
  readonly ready: boolean;
  /** Stable word for each part: `ok`, or what is wrong with it. */
  readonly parts: { readonly process: 'ok' | 'draining'; readonly database: string };
}

/** A probe is answered by then, whatever hangs. */
const PROBE_MS = 900;

@Injectable()
export class HealthService {
  private looking: Promise<string> | undefined;

  constructor(
    private readonly database: Database,
    private readonly draining: Draining,
  ) {}

  /** Answers within a second. */
  async readiness(): Promise<Readiness> {
    const parts = { process: this.draining.isDraining ? 'draining' : 'ok', database: await within(PROBE_MS, this.databaseState()) } as const;
    return { ready: parts.process === 'ok' && parts.database === 'ok', parts };
  }

  // One look at a time: probes against a database that hangs must not take its whole pool.
  private databaseState(): Promise<string> {
    this.looking ??= requireOwnSchema(this.database)
      .then(() => 'ok', (error: unknown) => (error instanceof AppError ? error.code : 'database.failed'))
      .finally(() => (this.looking = undefined));
    return this.looking;
  }
}

async function within(milliseconds: number, state: Promise<string>): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => (timer = setTimeout(resolve, milliseconds, 'no answer in time')));
  return Promise.race([state, late]).finally(() => clearTimeout(timer));
}
