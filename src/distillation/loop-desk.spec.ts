import { describe, expect, it } from 'vitest';
import { Aborted } from '../common/errors.js';
import { Engine, EngineFailed, type CheckpointRef, type EngineInfo } from '../engine/engine.js';
import { MemoryStore } from '../../test/support/memory-store.js';
import type { RunEvent, StepMetrics } from './events.js';
import { LoopDesk, type DeskOptions } from './loop-desk.js';

/** Saves and loads nothing but notes that it was asked to. */
class NotingEngine extends Engine {
  readonly saved: string[] = [];
  readonly loaded: CheckpointRef[] = [];
  steps = 0;
  constructor(private readonly build = 'b') {
    super();
  }
  async save(dir: string): Promise<CheckpointRef> {
    this.saved.push(dir);
    return { dir, step: this.steps };
  }
  async load(ref: CheckpointRef): Promise<void> {
    this.loaded.push(ref);
  }
  async describe(): Promise<EngineInfo> {
    const losses = { forward_kl: 'native', reverse_kl: 'native', hard: 'native' } as const;
    return { implementation: 'reference', vocabSize: 1, parameters: 1, layers: 1, maxPositions: 1, threads: 1, build: this.build, losses, step: this.steps };
  }
  forward = unused;
  forwardBackward = unused;
  optimStep = unused;
  sample = unused;
  score = unused;
  exportWeights = unused;
  async close(): Promise<void> {}
}

function unused(): never {
  throw new Error('a desk does not train');
}

class PlacedStore extends MemoryStore {
  readonly removed: string[] = [];
  override path(name: string): string {
    return `/${name}`;
  }
  override async remove(name: string): Promise<void> {
    this.removed.push(name);
    await super.remove(name);
  }
}

const metrics = (step: number): StepMetrics => ({ stage: 'distill', step, steps: 5, loss: 1, grad_norm: 1, learning_rate: 1, tokens: 1, loss_tokens: 1, seconds: 1, tokens_per_second: 1 });
const cost = { seconds: 1, tokens: 10, teacher_calls: 0 };

function options(store: PlacedStore, engine: NotingEngine, change: Partial<DeskOptions> = {}): DeskOptions {
  return { store, engine, stage: 'distill', every: { kind: 'steps', every: 2 }, clock: () => 0, epoch: 1, onEvent: () => undefined, ...change };
}

/** Books steps from the first one on, and then throws if told to. */
async function take(desk: LoopDesk, last: number, failure?: Error): Promise<void> {
  await desk.attend(async () => {
    for (let step = desk.firstStep; step <= last; step++) await desk.finishStep(metrics(step), cost);
    if (failure) throw failure;
  });
}

describe('LoopDesk', () => {
  it('writes checkpoints every so many steps and at the end, and keeps the last one only', async () => {
    const [store, engine] = [new PlacedStore(), new NotingEngine()];

    await take(await LoopDesk.open(options(store, engine), 5), 5);

    expect(engine.saved).toEqual(['/checkpoints/distill/2.1', '/checkpoints/distill/4.1', '/checkpoints/distill/5.1']);
    expect(store.removed.slice(-1)).toEqual(['checkpoints/distill/4.1']);
    const again = await LoopDesk.open(options(store, engine), 5);
    expect([again.isDone, again.firstStep, again.account]).toEqual([true, 6, { seconds: 5, tokens: 50, teacher_calls: 0 }]);
    expect(engine.loaded).toEqual([{ dir: '/checkpoints/distill/5.1', step: 0 }]);
  });

  it('writes checkpoints by the clock', async () => {
    const [store, engine] = [new PlacedStore(), new NotingEngine()];
    let minutes = 0;
    const timed = options(store, engine, { every: { kind: 'time', everyMs: 60_000 * 5 }, clock: () => 60_000 * minutes });
    const desk = await LoopDesk.open(timed, 9);

    await desk.attend(async () => {
      for (minutes = 2; minutes <= 8; minutes += 2) await desk.finishStep(metrics(minutes / 2), cost);
    });

    expect(engine.saved).toEqual(['/checkpoints/distill/3.1', '/checkpoints/distill/4.1']);
  });

  it.each([
    ['stopped on request', new Aborted('the step'), ['/checkpoints/distill/2.1', '/checkpoints/distill/3.1'], 4],
    ['the engine is gone', new EngineFailed('killed'), ['/checkpoints/distill/2.1'], 3],
  ])('keeps what it can when %s', async (_, failure, saved, firstStep) => {
    const [store, engine] = [new PlacedStore(), new NotingEngine()];
    const events: RunEvent[] = [];

    await expect(take(await LoopDesk.open(options(store, engine), 5), 3, failure)).rejects.toBe(failure);
    const again = await LoopDesk.open(options(store, engine, { epoch: 2, onEvent: (event) => events.push(event) }), 5);

    expect(engine.saved).toEqual(saved);
    expect(again.firstStep).toBe(firstStep);
    expect(events).toEqual([{ kind: 'resumed', stage: 'distill', firstStep }]);
  });

  it('warns when the checkpoint comes from another build', async () => {
    const store = new PlacedStore();
    await expect(take(await LoopDesk.open(options(store, new NotingEngine()), 5), 3, new Aborted('x'))).rejects.toThrow();
    const events: RunEvent[] = [];

    await LoopDesk.open(options(store, new NotingEngine('other'), { onEvent: (event) => events.push(event) }), 5);

    expect(events[0]).toEqual({ kind: 'warning', message: expect.stringMatching(/written by reference, b, 1 threads; this is reference, other, 1 threads/) });
  });

  it('refuses a damaged state file by name', async () => {
    const store = new PlacedStore();
    await store.write('state/distill.json', Buffer.from('{"step": -1}'));

    await expect(LoopDesk.open(options(store, new NotingEngine()), 5)).rejects.toMatchObject({ code: 'distillation.state_damaged', message: expect.stringContaining('state/distill.json') });
  });
});
