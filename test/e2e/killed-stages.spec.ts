import { afterAll, beforeAll, expect, it } from 'vitest';
import { ChaosJob } from '../chaos/chaos-job.js';
import { ChaosService } from '../chaos/chaos-service.js';
import { Claims } from '../chaos/table.js';
import { checkAgainst, runUndisturbed, type Undisturbed } from '../chaos/undisturbed.js';

let service: ChaosService;
let undisturbed: Undisturbed;

beforeAll(async () => {
  service = await ChaosService.start();
  undisturbed = await runUndisturbed(service, await ChaosJob.inputs(service));
});
afterAll(() => service.close());

it('a job whose worker and engine are killed once in each stage ends as the undisturbed one', async () => {
  const job = await ChaosJob.submit(service, undisturbed.inputs);
  for (const stage of ['validate', 'collect', 'distill', 'align', 'evaluate', 'export']) {
    const worker = await service.startWorker();
    await job.untilStage(stage, ({ status, done }) => status === 'running' && (done > 0 || stage === 'validate' || stage === 'export'));
    await worker.killAll();
  }
  await service.startWorker();
  await job.untilEnded();

  const claims = new Claims();
  await checkAgainst(claims, job, undisturbed);
  expect(claims.broken).toEqual([]);
  expect((await job.stages()).map(({ name, epoch }) => `${name} ${epoch}`)).toEqual(['validate 2', 'collect 2', 'distill 2', 'align 2', 'evaluate 2', 'export 2']);
});
