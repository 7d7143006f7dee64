import { describe, expect, it } from 'vitest';
import type { Sample } from '../tokens/sample.js';
import type { TargetBlock } from '../tokens/target.js';
import { MemoryStore } from '../../test/support/memory-store.js';
import { Journal } from './journal.js';

const identity = { spec: 's', student: 'm', prompts: 'p', heldOut: 'h', teacher: 't', tokenizer: 'k', template: 'c' };
const rollouts: Sample[] = [{ prompt_T: Int32Array.of(1), completion_T: Int32Array.of(5), finish: 'length' }];
const block = (logProb: number): TargetBlock => ({
  index: 0, offsets_R1: Int32Array.of(0, 1), ids_S: Int32Array.of(5), logProbs_S: Float32Array.of(logProb), tail_R: Float32Array.of(0.5), actualLogProbs_R: Float32Array.of(logProb),
});
const journal = (store: MemoryStore, epoch: number, teacher = 't') => new Journal({ store, identity: { ...identity, teacher }, k: 1, epoch });

describe('Journal', () => {
  it('gives a kept reply back as the live step saw it, rounded alike', async () => {
    const store = new MemoryStore();

    const live = await journal(store, 1).keep(3, rollouts, { blocks: [block(-0.7)], seconds: 1 });

    expect(live[0].targets.logProbs_S[0]).toBe(-0.7001953125);
    expect(await journal(store, 2).find(3, rollouts)).toEqual(live);
    expect(await store.list('journal/')).toEqual(['journal/align-000003.000001.safetensors']);
  });

  it('finds nothing for other steps, other rollouts, another teacher', async () => {
    const store = new MemoryStore();
    await journal(store, 1).keep(3, rollouts, { blocks: [block(-0.7)], seconds: 1 });

    expect(await journal(store, 1).find(4, rollouts)).toBeUndefined();
    expect(await journal(store, 1).find(3, [{ ...rollouts[0], completion_T: Int32Array.of(6) }])).toBeUndefined();
    expect(await journal(store, 1, 'other').find(3, rollouts)).toBeUndefined();
  });

  it('takes the earliest of several replies to the same rollouts', async () => {
    const store = new MemoryStore();
    await journal(store, 11).keep(3, rollouts, { blocks: [block(-2)], seconds: 1 });
    await journal(store, 2).keep(3, rollouts, { blocks: [block(-1)], seconds: 1 });

    expect((await journal(store, 12).find(3, rollouts))?.[0].targets.logProbs_S[0]).toBe(-1);
  });

  it('says so when a kept reply is damaged', async () => {
    const store = new MemoryStore();
    await journal(store, 1).keep(3, rollouts, { blocks: [block(-1)], seconds: 1 });
    const [name] = await store.list('journal/');
    const bytes = await store.read(name);
    await store.write(name, (bytes ?? new Uint8Array()).map((byte, at) => (at === 900 ? byte ^ 1 : byte)));

    await expect(journal(store, 2).find(3, rollouts)).rejects.toMatchObject({ code: 'distillation.shard_damaged' });
  });
});
