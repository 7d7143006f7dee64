import { expect, test } from 'vitest';
import { ItemQueue } from './item-queue.js';

async function drain<T>(queue: ItemQueue<T>, into: T[]): Promise<void> {
  for await (const item of queue) into.push(item);
}

test('hands out what was pushed before and while it is read, in order', async () => {
  const queue = new ItemQueue<number>();
  queue.push(1);
  const seen: number[] = [];
  const done = drain(queue, seen);
  queue.push(2);
  await Promise.resolve();
  queue.push(3);
  queue.finish();
  await done;
  expect(seen).toEqual([1, 2, 3]);
});

test('hands out the items before a failure, then the failure', async () => {
  const queue = new ItemQueue<number>();
  queue.push(1);
  queue.fail(new Error('gone'));
  const seen: number[] = [];
  await expect(drain(queue, seen)).rejects.toThrow('gone');
  expect(seen).toEqual([1]);
});
