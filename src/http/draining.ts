import type { Server } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable, Logger, type BeforeApplicationShutdown } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';

const IDLE_CHECK_MS = 50;

/**
 * The way out of a process that answers requests: not ready, no longer listening, streams ended (by their own `onModuleDestroy`), running requests
 * answered; queues and database close after that, in `onApplicationShutdown`.
 */
@Injectable()
export class Draining implements BeforeApplicationShutdown {
  private readonly logger = new Logger('Shutdown');
  private closed: Promise<void> | undefined;
  private draining = false;

  constructor(
    private readonly adapters: HttpAdapterHost,
    @Inject(API_SETTINGS) private readonly settings: Pick<ApiSettings, 'drainMs' | 'shutdownMs'>,
  ) {}

  /** Whether the process is to get no new requests; it answers those that come all the same. */
  get isDraining(): boolean {
    return this.draining;
  }

  /** The steps before the application closes. Ends when nobody can connect any more. */
  async start(): Promise<void> {
    this.draining = true;
    this.logger.log(`not ready; listening on for ${this.settings.drainMs} ms`);
    await delay(this.settings.drainMs);
    this.closed = new Promise((resolve) => this.server.close(() => resolve()));
    this.logger.log('no longer listening; ending streams');
  }

  async beforeApplicationShutdown(): Promise<void> {
    if (!this.closed) return;
    const idle = setInterval(() => this.server.closeIdleConnections(), IDLE_CHECK_MS); // connections kept alive would hold the end up
    const late = new AbortController();
    const timely = await Promise.race([this.closed.then(() => true), delay(this.settings.shutdownMs, false, { signal: late.signal })]).finally(() => clearInterval(idle));
    late.abort();
    this.logger.log(timely ? 'every request is answered; closing queues and database' : `requests still run after ${this.settings.shutdownMs} ms; cutting them off`);
  }

  private get server(): Server {
    return this.adapters.httpAdapter.getHttpServer() as Server;
  }
}
