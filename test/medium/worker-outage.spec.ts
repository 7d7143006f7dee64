import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Job } from '../../src/runs/runs.schema.js';
import { tcpGate, type TcpGate } from '../support/tcp-gate.js';
import { TinyService } from '../support/tiny-service.js';

let service: TinyService;
let gate: TcpGate;

beforeAll(async () => {
  service = await TinyService.start();
  const url = new URL(service.workerSettings().databaseUrl);
  gate = await tcpGate(Number(url.port));
  url.port = String(gate.port);
  await service.startWorker({ databaseUrl: url.href, leaseMs: 20_000 });
});
afterAll(async () => {
  await service.close();
  await gate.close();
});

const inStage = (name: string) => (job: Job): boolean => (job.status_details.stages.find((stage) => stage.name === name)?.progress?.done ?? 0) >= 1;

it('a worker whose database goes away and comes back goes on with its stage, losing neither steps nor points', async () => {
  const id = await service.submit();
  for (const stage of ['distill', 'align']) {
    await service.until(id, inStage(stage));
    const before = gate.refused;
    gate.cut();
    await expect.poll(() => gate.refused - before, { timeout: 30_000, interval: 10 }).toBeGreaterThan(5);
    gate.mend();
  }
  const job = await service.until(id, ({ status }) => status === 'succeeded');

  const epochs = job.status_details.stages.filter(({ name }) => name === 'distill' || name === 'align').map(({ name, epoch }) => `${name} ${epoch}`);
  expect(epochs).toEqual(['distill 1', 'align 1']);
  const steps = await service.database.query<{ step: number }>(`select step from metric_points p join metric_series s on s.id = p.series where s.run_id = $1 and s.key = 'align/loss' order by step`, [id]);
  expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
});
