import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Node } from '../../src/nodes/nodes.schema.js';
import { NodesModule } from '../../src/nodes/nodes.module.js';
import { NodesRepository } from '../../src/nodes/nodes.repository.js';
import { NodesService } from '../../src/nodes/nodes.service.js';
import { storeStages } from '../support/bare-run.js';
import { getJson } from '../support/http-json.js';
import { startApi, type RunningApi } from '../support/running-api.js';

interface Page {
  readonly data: Node[];
  readonly has_more: boolean;
}

const DESCRIPTION = { name: 'rig', devices: [{ kind: 'cpu' as const, name: 'Xeon' }], memoryBytes: 2 ** 34, engine: 'native', version: '1.2.3', threads: 8, queues: ['collect', 'device'] };
let api: RunningApi;
let headers: Record<string, string>;
let nodes: NodesService;

beforeAll(async () => {
  api = await startApi([NodesModule]);
  headers = { authorization: `Bearer ${await api.key('nodes:read')}` };
  nodes = new NodesService(new NodesRepository(api.database));
});
afterAll(() => api.close());

const get = <Answer>(path: string) => getJson<Answer>(`${api.url}/v1/nodes${path}`, headers);

it('shows a node with what it works on', async () => {
  const id = await nodes.register(DESCRIPTION);
  const [stage] = await storeStages(api.database, 'ftjob-1', ['distill']);
  await api.database.query(`update stages set status = 'running', epoch = 2, node_id = $2 where id = $1`, [stage, id]);

  const { status, json } = await get<Node>(`/${id}`);

  expect(status).toBe(200);
  expect(json).toMatchObject({ id, object: 'node', name: 'rig', devices: DESCRIPTION.devices, memory_bytes: 2 ** 34, engine: 'native', threads: 8, queues: ['collect', 'device'], status: 'ready' });
  expect(json.stages).toEqual([{ job_id: 'ftjob-1', stage: 'distill', epoch: 2 }]);
  expect(json.heartbeat_at).toBeGreaterThanOrEqual(json.started_at);
});

it('tells ready from silent from stopped by the database\'s clock', async () => {
  const [ready, silent, stopped] = [await nodes.register(DESCRIPTION), await nodes.register(DESCRIPTION), await nodes.register(DESCRIPTION)];
  await api.database.query(`update nodes set heartbeat_at = clock_timestamp() - interval '2 minutes' where id = any($1)`, [[ready, silent]]);
  await nodes.beat(ready);
  await nodes.markStopped(stopped);

  const statuses = await Promise.all([ready, silent, stopped].map(async (id) => (await get<Node>(`/${id}`)).json.status));

  expect(statuses).toEqual(['ready', 'silent', 'stopped']);
});

it('lists the newest first, page by page', async () => {
  await api.database.query('delete from nodes');
  const ids = [];
  for (let count = 0; count < 5; count++) ids.unshift(await nodes.register(DESCRIPTION));

  const first = (await get<Page>('?limit=3')).json;
  const second = (await get<Page>(`?limit=3&after=${first.data[2].id}`)).json;

  expect([first, second].map(({ data }) => data.map(({ id }) => id))).toEqual([ids.slice(0, 3), ids.slice(3)]);
  expect([first.has_more, second.has_more]).toEqual([true, false]);
});

it('answers 404 for a node that is not there', async () => {
  const { status, json } = await get<{ error: { code: string } }>('/node-none');

  expect([status, json.error.code]).toEqual([404, 'nodes.unknown']);
});
