import { Injectable } from '@nestjs/common';
import { Database } from '../database/database.js';

/** A device that an engine can use. */
export interface NodeDevice {
  readonly kind: 'cpu';
  readonly name: string;
}

/** What a worker says of itself when it starts. */
export interface NodeDescription {
  readonly name: string;
  readonly devices: readonly NodeDevice[];
  readonly memoryBytes: number;
  /** Implementation of its engine. */
  readonly engine: string;
  readonly version: string;
  readonly threads: number;
  readonly queues: readonly string[];
}

/** A stage that a node works on. */
export interface NodeStage {
  readonly job_id: string;
  readonly stage: string;
  readonly epoch: number;
}

export interface NodeRow {
  readonly id: string;
  readonly name: string;
  readonly devices: NodeDevice[];
  readonly memory_bytes: number;
  readonly engine: string;
  readonly version: string;
  readonly threads: number;
  readonly queues: string[];
  /** Unix seconds. */
  readonly started_at: number;
  readonly heartbeat_at: number;
  readonly stopped_at: number | null;
  readonly drain_requested_at: number | null;
  /** Milliseconds since its last sign of life, by the database's clock. */
  readonly silent_ms: number;
  readonly stages: NodeStage[];
}

/** The channel that tells workers of orders to a node; its payload is the node's id. */
export const NODE_ORDERS = 'node_orders';

const unix = (column: string): string => `floor(extract(epoch from n.${column}))::int8 as ${column}`;

const NODES = `
  select n.id, n.name, n.devices, n.memory_bytes, n.engine, n.version, n.threads, n.queues,
    ${unix('started_at')}, ${unix('heartbeat_at')}, ${unix('stopped_at')}, ${unix('drain_requested_at')},
    (extract(epoch from clock_timestamp() - n.heartbeat_at) * 1000)::float8 as silent_ms,
    coalesce((select jsonb_agg(jsonb_build_object('job_id', s.run_id, 'stage', s.name, 'epoch', s.epoch) order by s.id)
              from stages s where s.node_id = n.id and s.status = 'running'), '[]') as stages
  from nodes n`;

/** Every query on nodes. */
@Injectable()
export class NodesRepository {
  constructor(private readonly database: Database) {}

  async insert(id: string, { name, devices, memoryBytes, engine, version, threads, queues }: NodeDescription): Promise<void> {
    await this.database.query(
      'insert into nodes (id, name, devices, memory_bytes, engine, version, threads, queues) values ($1, $2, $3::jsonb, $4, $5, $6, $7, $8)',
      [id, name, JSON.stringify(devices), memoryBytes, engine, version, threads, queues],
    );
  }

  /** @returns whether the node is to drain. */
  async beat(id: string): Promise<boolean> {
    const [row] = await this.database.query<{ drains: boolean }>(
      'update nodes set heartbeat_at = clock_timestamp() where id = $1 returning drain_requested_at is not null as drains',
      [id],
    );
    return row?.drains ?? false;
  }

  /** Notes that a node is to drain, the first time counts, or no longer; its worker is told at once. */
  async order(id: string, order: 'drain' | 'undrain'): Promise<void> {
    const value = order === 'drain' ? 'coalesce(drain_requested_at, clock_timestamp())' : 'null';
    await this.database.query(`with ordered as (update nodes set drain_requested_at = ${value} where id = $1 returning id) select pg_notify('${NODE_ORDERS}', id) from ordered`, [id]);
  }

  async stop(id: string): Promise<void> {
    await this.database.query('update nodes set stopped_at = clock_timestamp() where id = $1', [id]);
  }

  async find(id: string): Promise<NodeRow | undefined> {
    const [row] = await this.database.query<NodeRow>(`${NODES} where n.id = $1`, [id]);
    return row;
  }

  /** Up to `limit` nodes, the newest first. @param after id of the last one seen. */
  list({ after, limit }: { readonly after?: string; readonly limit: number }): Promise<NodeRow[]> {
    return this.database.query<NodeRow>(
      `${NODES} where $1::text is null or (n.started_at, n.id) < (select started_at, id from nodes where id = $1) order by n.started_at desc, n.id desc limit $2`,
      [after ?? null, limit],
    );
  }
}
