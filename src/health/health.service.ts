import { Injectable } from '@nestjs/common';
import { AppError } from '../common/errors.js';
import { Database } from '../database/database.js';
import { requireOwnSchema } from '../database/schema-version.js';
import { Draining } from '../http/draining.js';
import { StageQueue } from '../queue/stage-queue.js';

/** Whether the process may be sent requests, and why not. */
export interface Readiness {
  readonly ready: boolean;
  /** Stable word for each part: `ok`, or what is wrong with it. Without its queues a service is ready: what it takes in starts when they are back. */
  readonly parts: { readonly process: 'ok' | 'draining'; readonly database: string; readonly queues: 'ok' | 'degraded' };
}

/** A probe is answered by then, whatever hangs. */
const PROBE_MS = 900;
const LATE = 'no answer in time';

@Injectable()
export class HealthService {
  private looking: Promise<string> | undefined;
  private asking: Promise<'ok' | 'degraded'> | undefined;

  constructor(
    private readonly database: Database,
    private readonly draining: Draining,
    private readonly queue: StageQueue,
  ) {}

  /** Answers within a second. */
  async readiness(): Promise<Readiness> {
    const [database, queues] = await Promise.all([within(PROBE_MS, this.databaseState(), LATE), within(PROBE_MS, this.queueState(), 'degraded')]);
    const parts = { process: this.draining.isDraining ? 'draining' : 'ok', database, queues } as const;
    return { ready: parts.process === 'ok' && parts.database === 'ok', parts };
  }

  // One look at a time: probes against a database that hangs must not take its whole pool.
  private databaseState(): Promise<string> {
    this.looking ??= requireOwnSchema(this.database)
      .then(() => 'ok', (error: unknown) => (error instanceof AppError ? error.code : 'database.failed'))
      .finally(() => (this.looking = undefined));
    return this.looking;
  }

  private queueState(): Promise<'ok' | 'degraded'> {
    this.asking ??= this.queue
      .waiting()
      .then((counts) => (counts ? 'ok' : 'degraded'))
      .finally(() => (this.asking = undefined));
    return this.asking;
  }
}

async function within<State extends string>(milliseconds: number, state: Promise<State>, otherwise: State): Promise<State> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<State>((resolve) => (timer = setTimeout(resolve, milliseconds, otherwise)));
  return Promise.race([state, late]).finally(() => clearTimeout(timer));
}
