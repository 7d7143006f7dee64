import { z } from 'zod';
import { listSchema } from '../http/page.js';
import type { NodeRow } from './nodes.repository.js';

/** A worker as the API shows it. */
export const Node = z
  .object({
    id: z.string(),
    object: z.literal('node'),
    name: z.string(),
    devices: z.array(z.object({ kind: z.string(), name: z.string() })),
    memory_bytes: z.int().min(0),
    engine: z.string().describe('Implementation of its engine'),
    version: z.string(),
    threads: z.int().min(1),
    queues: z.array(z.string()).describe('What it takes: collect needs no device'),
    status: z.enum(['ready', 'draining', 'silent', 'stopped']).describe('draining: gives its stages back and takes no more; silent: no sign of life for some time, so its stages go to others'),
    started_at: z.int(),
    heartbeat_at: z.int(),
    drain_requested_at: z.int().nullable(),
    stages: z.array(z.object({ job_id: z.string(), stage: z.string(), epoch: z.int() })).describe('What it works on now'),
  })
  .meta({ id: 'Node' });
export type Node = z.output<typeof Node>;

export const NodeList = listSchema(Node).meta({ id: 'NodeList' });

/** @param silentMs silence after which a node that did not stop counts as silent. */
export function nodeOf({ silent_ms, stopped_at, ...row }: NodeRow, silentMs: number): Node {
  const awake = row.drain_requested_at === null ? 'ready' : 'draining';
  const living = silent_ms < silentMs ? awake : 'silent';
  return { ...row, object: 'node', status: stopped_at === null ? living : 'stopped' };
}
