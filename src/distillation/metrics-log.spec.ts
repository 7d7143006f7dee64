import { describe, expect, it } from 'vitest';
import type { StepMetrics } from './events.js';
import { MetricsLog } from './metrics-log.js';
import { MemoryStore } from '../../test/support/memory-store.js';

const record = (stage: StepMetrics['stage'], step: number): StepMetrics => ({
  stage, step, steps: 9, loss: 1, grad_norm: 1, learning_rate: 1, tokens: 1, loss_tokens: 1, seconds: 1, tokens_per_second: 1,
});

async function logged(store: MemoryStore): Promise<string[]> {
  const text = Buffer.from((await store.read('metrics.jsonl')) ?? []).toString();
  return text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line)).map(({ stage, step }) => `${stage} ${step}`);
}

describe('MetricsLog', () => {
  it('forgets steps that will be taken again and a torn last line', async () => {
    const store = new MemoryStore();
    const log = new MetricsLog(store);
    for (const step of [1, 2, 3]) await log.add(record('distill', step));
    await log.add(record('align', 1));
    await store.append('metrics.jsonl', Buffer.from('{"stage":"distill","step":1,"ste'));

    await log.rewind('distill', 3);

    expect(await logged(store)).toEqual(['distill 1', 'distill 2', 'align 1']);
  });

  it('keeps the other stage', async () => {
    const store = new MemoryStore();
    const log = new MetricsLog(store);
    await log.add(record('distill', 9));
    await log.add(record('align', 1));

    await log.rewind('align', 1);

    expect(await logged(store)).toEqual(['distill 9']);
  });
});
