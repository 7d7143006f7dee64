import { Test } from '@nestjs/testing';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { QueueModule } from '../../src/queue/queue.module.js';
import { StageQueue } from '../../src/queue/stage-queue.js';
import { redis, type TestRedis } from '../support/service-servers.js';

let server: TestRedis;
const closers: (() => Promise<void>)[] = [];

beforeEach(async () => {
  server = await redis();
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  await server.close();
});

async function open(redisUrl = server.url, redisCommandMs = 5_000): Promise<StageQueue> {
  const module = await Test.createTestingModule({ imports: [QueueModule.of({ redisUrl, redisPrefix: server.prefix, redisCommandMs })] }).compile();
  closers.push(() => module.close());
  return module.get(StageQueue);
}

it('delivers an offer once, however often it is made, and holds ids alone', async () => {
  const queue = await open();
  const taken: unknown[] = [];
  for (let again = 0; again < 3; again++) await queue.offer({ id: 7, queue: 'device', epoch: 2 });
  await queue.offer({ id: 8, queue: 'collect', epoch: 1 });
  expect(await queue.waiting()).toEqual({ collect: 1, device: 1 });

  await new Promise<void>((resolve) => {
    const take = async (said: unknown): Promise<void> => {
      if (taken.push(said) === 2) resolve();
    };
    queue.attend('device', 1, take);
    queue.attend('collect', 2, take);
  });

  expect(taken).toHaveLength(2);
  expect(taken).toEqual(expect.arrayContaining([{ stageId: 7, epoch: 2 }, { stageId: 8, epoch: 1 }]));
});

it('delivers the same offer again once the one before has been answered', async () => {
  const queue = await open();
  let count = 0;
  await new Promise<void>((resolve) => {
    queue.attend('device', 1, async () => {
      if (++count === 2) resolve();
      else setImmediate(() => void again());
    });
    const again = async (): Promise<void> => {
      while (count < 2) await queue.offer({ id: 7, queue: 'device', epoch: 2 });
    };
    void again();
  });

  expect(count).toBe(2);
});

it('neither throws nor hangs when Redis is away', async () => {
  const queue = await open('redis://127.0.0.1:1', 50);

  await queue.offer({ id: 7, queue: 'device', epoch: 2 });

  expect(await queue.waiting()).toBeUndefined();
});

it('may be closed as soon as it attends', async () => {
  const refused: unknown[] = [];
  const listen = (reason: unknown): void => void refused.push(reason);
  process.on('unhandledRejection', listen);
  for (let round = 0; round < 4; round++) {
    const queue = await open();
    queue.attend('device', 1, async () => undefined);
    queue.attend('collect', 2, async () => undefined);
    await queue.rest();
    for (const close of closers.splice(0)) await close();
  }
  process.off('unhandledRejection', listen);

  expect(refused).toEqual([]);
});
