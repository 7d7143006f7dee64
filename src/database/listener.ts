import { setTimeout as delay } from 'node:timers/promises';
import { Logger, type OnApplicationShutdown } from '@nestjs/common';
import pg from 'pg';

/** How the listener reaches the database. */
export interface ListenerSettings {
  /** `postgres://user:password@host:port/name`. */
  readonly url: string;
  readonly connectMs: number;
  /** Before the first new try after a connection was lost or refused; doubles up to 32 times this. */
  readonly retryMs: number;
}

/** Called with a notification's payload, or with undefined when notifications may have been missed: look again. */
export type Heard = (payload: string | undefined) => void;

const MOST_DOUBLINGS = 5;

/** Hears `pg_notify` on a connection of its own, which it makes at the first `listen` and again whenever it is lost. */
export class DatabaseListener implements OnApplicationShutdown {
  private readonly logger = new Logger(DatabaseListener.name);
  private readonly handlers = new Map<string, Set<Heard>>();
  private readonly closing = new AbortController();
  private client: pg.Client | undefined;
  private life: Promise<void> | undefined;

  constructor(private readonly settings: ListenerSettings) {}

  /**
   * Calls `heard` with undefined once listening is in force, and again after each reconnection; in between with each payload. Notifications come at most once and may
   * be lost with the connection, so what they tell of must be looked up. @returns a function that ends it.
   */
  listen(channel: string, heard: Heard): () => void {
    const handlers = this.handlers.get(channel) ?? new Set<Heard>();
    const handler: Heard = (payload) => heard(payload); // the same function may listen twice
    handlers.add(handler);
    this.handlers.set(channel, handlers);
    this.life ??= this.stayConnected();
    if (this.client) void this.join(this.client, channel, handler);
    return () => void handlers.delete(handler);
  }

  async onApplicationShutdown(): Promise<void> {
    this.closing.abort();
    await this.client?.end();
    await this.life;
  }

  private async stayConnected(): Promise<void> {
    for (let failures = 0; !this.closing.signal.aborted; failures++) {
      try {
        await this.connection(() => (failures = 0));
      } catch (error) {
        this.logger.warn(`notifications are not heard: ${error instanceof Error ? error.message : String(error)}`);
      }
      const pauseMs = this.settings.retryMs * 2 ** Math.min(failures, MOST_DOUBLINGS);
      await delay(pauseMs, undefined, { signal: this.closing.signal }).catch(() => undefined);
    }
  }

  /** One connection, from its making to its end. */
  private async connection(onceListening: () => void): Promise<void> {
    const { url, connectMs } = this.settings;
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: connectMs, keepAlive: true, application_name: 'limbeck listener' });
    const ended = new Promise<void>((resolve) => client.once('end', () => resolve()));
    client.on('error', (error) => this.logger.warn(`the connection for notifications was lost: ${error.message}`));
    client.on('notification', ({ channel, payload }) => this.tell(channel, payload ?? ''));
    try {
      await client.connect();
      for (const channel of this.handlers.keys()) await client.query(`listen ${client.escapeIdentifier(channel)}`);
      if (this.closing.signal.aborted) return;
      this.client = client;
      onceListening();
      for (const channel of this.handlers.keys()) this.tell(channel, undefined);
      await ended;
    } finally {
      this.client = undefined;
      await client.end().catch(() => undefined);
    }
  }

  /** A handler that came when the connection stood already. */
  private async join(client: pg.Client, channel: string, handler: Heard): Promise<void> {
    try {
      await client.query(`listen ${client.escapeIdentifier(channel)}`);
    } catch {
      return; // the connection is lost; the next one listens to every channel
    }
    if (this.handlers.get(channel)?.has(handler)) handler(undefined);
  }

  private tell(channel: string, payload: string | undefined): void {
    for (const handler of this.handlers.get(channel) ?? []) handler(payload);
  }
}
