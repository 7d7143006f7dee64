import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TinyService } from '../support/tiny-service.js';

let service: TinyService;

beforeAll(async () => {
  service = await TinyService.start();
});
afterAll(() => service.close());

describe('a job on a worker', () => {
  it('goes from its checks to a model', async () => {
    const worker = await service.startWorker();
    const id = await service.submit();

    const job = await service.until(id, ({ status }) => status === 'succeeded');

    expect(job.fine_tuned_model).toBe('small-tiny');
    await worker.close();
  });
});
