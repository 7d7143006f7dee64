import type { Database } from '../database/database.js';
import { TeacherEndpointsRepository, type EndpointRow, type LockedEndpoint } from './teacher-endpoints.repository.js';

export { TEACHER_ENDPOINTS, type EndpointRow } from './teacher-endpoints.repository.js';

/** What a change makes of a row; undefined leaves it as it is. @param now Unix milliseconds of the database's clock. */
export type EndpointChange = (row: EndpointRow, now: number) => EndpointRow | undefined;

/** Who asks an endpoint, and what the row of one that nobody asked yet is. */
export interface EndpointAsker {
  readonly baseUrl: string;
  readonly nodeId: string;
  /** Silence after which an asker no longer counts, milliseconds. */
  readonly silentMs: number;
  readonly fresh: Pick<EndpointRow, 'concurrency' | 'calls'>;
}

/** An endpoint after a change, and which of its askers this one is, from 0. */
export interface AskedEndpoint extends LockedEndpoint {
  readonly askers: number;
  readonly place: number;
}

/** What all workers of the installation know together of the teachers' addresses. */
export class TeacherEndpoints {
  private readonly endpoints: TeacherEndpointsRepository;

  constructor(database: Database) {
    this.endpoints = new TeacherEndpointsRepository(database);
  }

  /** Changes an endpoint on behalf of one who asks it; all others look at once when it is held, opened, or allowed less. */
  ask({ baseUrl, nodeId, silentMs, fresh }: EndpointAsker, change: EndpointChange): Promise<AskedEndpoint> {
    return this.endpoints.transaction(async (tx) => {
      let locked = await this.endpoints.lock(tx, baseUrl);
      if (!locked) {
        await this.endpoints.insert(tx, baseUrl, fresh);
        locked = (await this.endpoints.lock(tx, baseUrl)) as LockedEndpoint;
      }
      const { others, before } = await this.endpoints.attend(tx, baseUrl, { nodeId, silentMs });
      const row = change(locked.row, locked.now);
      if (row) await this.endpoints.save(tx, baseUrl, { row, told: isWorse(locked.row, row) });
      return { row: row ?? locked.row, now: locked.now, askers: others + 1, place: before };
    });
  }

  /** Takes the probes that are due, so that no other worker sends them for `takenMs`. @returns the addresses. */
  takeProbes(takenMs: number): Promise<string[]> {
    return this.endpoints.takeProbes(takenMs);
  }

  /** Writes what a probe found; all who wait for the endpoint look at once. */
  settle(baseUrl: string, change: EndpointChange): Promise<void> {
    return this.endpoints.transaction(async (tx) => {
      const locked = await this.endpoints.lock(tx, baseUrl);
      const row = locked && locked.row.openedAt !== null ? change(locked.row, locked.now) : undefined;
      if (row) await this.endpoints.save(tx, baseUrl, { row, told: true });
    });
  }

  /** Forgets an address that no teacher has any longer. */
  forget(baseUrl: string): Promise<void> {
    return this.endpoints.remove(baseUrl);
  }
}

function isWorse(before: EndpointRow, after: EndpointRow): boolean {
  return after.concurrency < before.concurrency || after.heldUntil > before.heldUntil || (after.openedAt !== null && before.openedAt === null);
}
