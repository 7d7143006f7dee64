import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Node } from '../../src/nodes/nodes.schema.js';
import type { Job } from '../../src/runs/runs.schema.js';
import { tcpGate, type TcpGate } from '../support/tcp-gate.js';
import { TinyService } from '../support/tiny-service.js';

let service: TinyService;
const gates: TcpGate[] = [];

beforeAll(async () => {
  service = await TinyService.start();
});
afterAll(() => service.close());
afterEach(async () => {
  await service.stopWorkers();
  await Promise.all(gates.splice(0).map((gate) => gate.close()));
});

const inStage = (name: string) => (job: Job): boolean => (job.status_details.stages.find((stage) => stage.name === name)?.progress?.done ?? 0) >= 1;
const nodeOf = (job: Job, name: string): string | null | undefined => job.status_details.stages.find((stage) => stage.name === name)?.node;
const nodes = async (): Promise<Node[]> => (await service.get<{ data: Node[] }>('/v1/nodes?limit=100')).json.data;

describe('a node that is told to drain', () => {
  it('gives its stage back saved, takes no more, and takes stages again once it is told', async () => {
    await service.startWorker({ nodeName: 'first' });
    const id = await service.submit();
    const job = await service.until(id, inStage('distill'));
    const first = nodeOf(job, 'distill')!;

    expect((await service.order<Node>(`/v1/nodes/${first}/drain`)).json).toMatchObject({ id: first, status: 'draining' });
    await service.until(id, ({ status_details: { stages } }) => stages.some(({ name, status }) => name === 'distill' && status === 'waiting'));
    await service.startWorker({ nodeName: 'second' });
    const done = await service.until(id, ({ status }) => status === 'succeeded');

    const second = (await nodes()).find(({ name }) => name === 'second')!.id;
    expect(done.status_details.stages.map(({ name, node, epoch }) => [name, node, epoch])).toEqual([
      ['validate', first, 1],
      ['collect', first, 1],
      ['distill', second, 2],
      ['align', second, 1],
      ['evaluate', second, 1],
      ['export', second, 1],
    ]);
    expect((await nodes()).find((node) => node.id === first)).toMatchObject({ status: 'draining', stages: [] });

    await service.order(`/v1/nodes/${second}/drain`);
    expect((await service.order<Node>(`/v1/nodes/${first}/undrain`)).json).toMatchObject({ status: 'ready', drain_requested_at: null });
    const next = await service.until(await service.submit(), ({ status }) => status === 'succeeded');
    expect(new Set(next.status_details.stages.map(({ node }) => node))).toEqual(new Set([first]));
  });

  it('is refused for a node that there is not', async () => {
    const { status, json } = await service.order<{ error: { code: string } }>('/v1/nodes/node-none/drain');
    expect([status, json.error.code]).toEqual([404, 'nodes.unknown']);
  });
});

describe('while Redis is away', () => {
  it('stages are claimed directly, one to a device, and by the queue again afterwards', async () => {
    const url = new URL(service.queue.url);
    const gate = await tcpGate(Number(url.port));
    gates.push(gate);
    gate.cut();
    url.port = String(gate.port);
    await service.startWorker({ redisUrl: url.href, redisCommandMs: 100 });
    const ids = [await service.submit(), await service.submit()];
    const most = await mostAtOnce(ids);

    expect(most).toBe(1);
    for (const id of ids) expect((await service.job(id)).status_details.stages.map(({ epoch }) => epoch)).toEqual([1, 1, 1, 1, 1, 1]);

    gate.mend();
    await service.until(await service.submit(), ({ status }) => status === 'succeeded');
  });
});

/** Waits for the jobs' ends. @returns the most device stages that ran together at any look. */
async function mostAtOnce(ids: readonly string[]): Promise<number> {
  let most = 0;
  const ended = Promise.all(ids.map((id) => service.until(id, ({ status }) => status === 'succeeded')));
  let over = false;
  void ended.finally(() => (over = true)).catch(() => undefined);
  while (!over) {
    const [{ running }] = await service.database.query<{ running: number }>(`select count(*)::int as running from stages where status = 'running' and queue = 'device'`);
    most = Math.max(most, running);
  }
  await ended;
  return most;
}
