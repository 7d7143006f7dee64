import { describe, expect, it } from 'vitest';
import { Aborted } from '../common/errors.js';
import { CheckpointInvalid, Engine, EngineFailed, type CheckpointRef, type EngineInfo, type SavedCheckpoint } from '../engine/engine.js';
import { ModelDiskFull } from '../model-files/errors.js';
import { MemoryStore } from '../../test/support/memory-store.js';
import type { RunEvent, StepMetrics } from './events.js';
import { LoopDesk, type DeskOptions } from './loop-desk.js';
import { DiskFull } from '../storage/storage.errors.js';
import { StudentEngine } from './student-engine.js';
import { readTraining } from './training-state.js';

/** Saves and loads nothing but notes that it was asked to. */
class NotingEngine extends Engine {
  readonly saved: string[] = [];
  readonly loaded: CheckpointRef[] = [];
  /** Directories whose load is refused. */
  readonly damaged = new Set<string>();
  steps = 0;
  /** Saves to come that find the disk full. */
  fullFor = 0;
  constructor(private readonly build = 'b') {
    super();
  }
  async save(dir: string): Promise<SavedCheckpoint> {
    if (this.fullFor-- > 0) throw new ModelDiskFull(dir, undefined);
    this.saved.push(dir);
    return { dir, step: this.steps, bytes: 12 };
  }
  async load(ref: CheckpointRef): Promise<void> {
    if (this.damaged.has(ref.dir)) throw new CheckpointInvalid(`${ref.dir} is damaged`);
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
  foresee = unused;
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

/** Has no room at all, or none for one file. */
class FullStore extends PlacedStore {
  isFull = false;
  fullFor = '';
  override async write(name: string, bytes: Uint8Array): Promise<void> {
    this.refuse(name);
    await super.write(name, bytes);
  }
  override async append(name: string, bytes: Uint8Array): Promise<void> {
    this.refuse(name);
    await super.append(name, bytes);
  }
  private refuse(name: string): void {
    if (this.isFull || this.fullFor === name) throw new DiskFull(name);
  }
}

const metrics = (step: number): StepMetrics => ({ stage: 'distill', step, steps: 5, loss: 1, grad_norm: 1, learning_rate: 1, tokens: 1, loss_tokens: 1, seconds: 1, tokens_per_second: 1 });
const cost = { seconds: 1, tokens: 10, teacher_calls: 0 };

function options(store: PlacedStore, engine: NotingEngine, change: Partial<DeskOptions> = {}): DeskOptions {
  const student = new StudentEngine(async () => engine);
  return { store, student, begin: () => student.start(), stage: 'distill', every: { kind: 'steps', every: 2 }, clock: () => 0, epoch: 1, onEvent: () => undefined, ...change };
}

/** Books steps from the first one on, and then throws if told to. */
async function take(desk: LoopDesk, last: number, failure?: Error): Promise<void> {
  await desk.attend(5, async () => {
    for (let step = desk.firstStep; step <= last; step++) await desk.finishStep(metrics(step), cost);
    if (failure) throw failure;
  });
}

describe('LoopDesk', () => {
  it('writes checkpoints every so many steps and at the end, and tells of each', async () => {
    const [store, engine] = [new PlacedStore(), new NotingEngine()];
    const events: RunEvent[] = [];

    await take(await LoopDesk.open(options(store, engine, { onEvent: (event) => events.push(event) })), 5);

    expect(engine.saved).toEqual(['/checkpoints/distill/2.1', '/checkpoints/distill/4.1', '/checkpoints/distill/5.1']);
    expect(events.filter(({ kind }) => kind === 'checkpoint')).toEqual(
      [2, 4, 5].map((step) => ({ kind: 'checkpoint', stage: 'distill', step, name: `checkpoints/distill/${step}.1`, bytes: 12, metrics: metrics(step), expired: [] })),
    );
    const again = await LoopDesk.open(options(store, engine));
    expect([again.isDone, again.firstStep, again.account]).toEqual([true, 6, { seconds: 5, tokens: 50, teacher_calls: 0 }]);
    expect(engine.loaded).toEqual([{ dir: '/checkpoints/distill/5.1', step: 0 }]);
  });

  it('commits a checkpoint only when what its steps told is settled, and none when that fails', async () => {
    const [store, engine] = [new PlacedStore(), new NotingEngine()];
    const committed: (number | undefined)[] = [];
    const settled = async (): Promise<void> => {
      committed.push((await readTraining(store, 'distill'))?.checkpoints[0].step);
      if (committed.length === 3) throw new Error('not stored');
    };

    await expect(take(await LoopDesk.open(options(store, engine, { settled })), 5)).rejects.toThrow('not stored');

    expect(committed).toEqual([undefined, 2, 4]);
    expect((await readTraining(store, 'distill'))?.checkpoints.map(({ step }) => step)).toEqual([4, 2]);
  });

  it('writes checkpoints by the clock', async () => {
    const [store, engine] = [new PlacedStore(), new NotingEngine()];
    let minutes = 0;
    const timed = options(store, engine, { every: { kind: 'time', everyMs: 60_000 * 5 }, clock: () => 60_000 * minutes });
    const desk = await LoopDesk.open(timed);

    await desk.attend(9, async () => {
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

    await expect(take(await LoopDesk.open(options(store, engine)), 3, failure)).rejects.toBe(failure);
    const again = await LoopDesk.open(options(store, engine, { epoch: 2, onEvent: (event) => events.push(event) }));

    expect(engine.saved).toEqual(saved);
    expect(again.firstStep).toBe(firstStep);
    expect(events).toEqual([{ kind: 'resumed', stage: 'distill', firstStep }]);
  });

  it('warns when the checkpoint comes from another build', async () => {
    const store = new PlacedStore();
    await expect(take(await LoopDesk.open(options(store, new NotingEngine())), 3, new Aborted('x'))).rejects.toThrow();
    const events: RunEvent[] = [];

    await LoopDesk.open(options(store, new NotingEngine('other'), { onEvent: (event) => events.push(event) }));

    expect(events[0]).toEqual({ kind: 'warning', message: expect.stringMatching(/written by reference, b, 1 threads; this is reference, other, 1 threads/) });
  });

  it('refuses a damaged state file by name', async () => {
    const store = new PlacedStore();
    await store.write('state/distill.json', Buffer.from('{"step": -1}'));

    await expect(LoopDesk.open(options(store, new NotingEngine()))).rejects.toMatchObject({ code: 'distillation.state_damaged', message: expect.stringContaining('state/distill.json') });
  });

  it('keeps the last three', async () => {
    const [store, engine] = [new PlacedStore(), new NotingEngine()];
    const events: RunEvent[] = [];

    await take(await LoopDesk.open(options(store, engine, { every: { kind: 'steps', every: 1 }, onEvent: (event) => events.push(event) })), 5);

    expect(events.flatMap((event) => (event.kind === 'checkpoint' ? event.expired : []))).toEqual(['checkpoints/distill/1.1', 'checkpoints/distill/2.1']);
    expect(store.removed.slice(-1)).toEqual(['checkpoints/distill/2.1']);
    expect((await readTraining(store, 'distill'))?.checkpoints.map(({ step }) => step)).toEqual([5, 4, 3]);
  });

  it('sweeps checkpoints of earlier attempts that its state does not name', async () => {
    const [store, engine] = [new PlacedStore(), new NotingEngine()];
    await expect(take(await LoopDesk.open(options(store, engine)), 3, new EngineFailed('killed'))).rejects.toThrow();
    for (const left of ['2.1', '4.1', '9.2', '9.3']) await store.write(`checkpoints/distill/${left}/master`, Buffer.of(1));
    await store.write('checkpoints/align/4.1/master', Buffer.of(1));

    await LoopDesk.open(options(store, engine, { epoch: 3 }));

    expect(await store.list('checkpoints/')).toEqual(['checkpoints/align/4.1/master', 'checkpoints/distill/2.1/master', 'checkpoints/distill/9.3/master']);
  });

  it('does not load what the engine holds already', async () => {
    const [store, engine] = [new PlacedStore(), new NotingEngine()];
    const held = options(store, engine);
    await take(await LoopDesk.open(held), 5);

    expect((await LoopDesk.open(held)).isDone).toBe(true);

    expect(engine.loaded).toEqual([]);
  });

  it('sets damaged checkpoints aside and goes on from the newest that is whole', async () => {
    const [store, engine] = [new PlacedStore(), new NotingEngine()];
    const events: RunEvent[] = [];
    await take(await LoopDesk.open(options(store, engine)), 5);
    for (const step of [4, 5]) engine.damaged.add(`/checkpoints/distill/${step}.1`);
    await store.write('checkpoints/distill/5.1/master', Buffer.of(1));

    const desk = await LoopDesk.open(options(store, engine, { epoch: 2, onEvent: (event) => events.push(event) }));

    expect([desk.firstStep, desk.isDone, desk.account.tokens]).toEqual([3, false, 20]);
    expect(events).toEqual([
      ...[5, 4].map((step) => ({ kind: 'quarantined', stage: 'distill', step, name: `checkpoints/distill/${step}.1`, message: `/checkpoints/distill/${step}.1 is damaged` })),
      { kind: 'resumed', stage: 'distill', firstStep: 3 },
    ]);
    expect(await store.list('quarantine/')).toEqual(['quarantine/distill/5.1/master']);
    await take(desk, 5);
    expect((await readTraining(store, 'distill'))?.checkpoints.map(({ name }) => name)).toEqual(['checkpoints/distill/5.2', 'checkpoints/distill/4.2', 'checkpoints/distill/2.1']);
  });

  it('never begins anew when every checkpoint is damaged', async () => {
    const [store, engine] = [new PlacedStore(), new NotingEngine()];
    await take(await LoopDesk.open(options(store, engine)), 5);
    for (const step of [2, 4, 5]) engine.damaged.add(`/checkpoints/distill/${step}.1`);

    for (let attempt = 0; attempt < 2; attempt++) {
      await expect(LoopDesk.open(options(store, engine))).rejects.toMatchObject({ code: 'distillation.no_valid_checkpoint', message: expect.stringContaining('distill') });
    }
  });

  describe('on a full disk', () => {
    it('goes on without two saves, tells of it once, and keeps the checkpoint it has', async () => {
      const [store, engine] = [new PlacedStore(), new NotingEngine()];
      const events: RunEvent[] = [];
      const desk = await LoopDesk.open(options(store, engine, { every: { kind: 'steps', every: 1 }, onEvent: (event) => events.push(event) }));

      await desk.attend(5, async () => {
        for (let step = 1; step <= 5; step++) {
          if (step === 2) engine.fullFor = 2;
          await desk.finishStep(metrics(step), cost);
        }
      });

      expect(engine.saved.map((dir) => dir.split('/').at(-1))).toEqual(['1.1', '4.1', '5.1']);
      expect(events.filter(({ kind }) => kind === 'save_failed')).toEqual([{ kind: 'save_failed', stage: 'distill', step: 2, code: 'model_files.disk_full', message: expect.stringContaining('no space left') }]);
    });

    it('ends at the third save in a row with the code of the disk, and goes on from its last checkpoint', async () => {
      const [store, engine] = [new PlacedStore(), new NotingEngine()];
      const every = { kind: 'steps' as const, every: 1 };
      const desk = await LoopDesk.open(options(store, engine, { every }));
      const steps = desk.attend(5, async () => {
        await desk.finishStep(metrics(1), cost);
        engine.fullFor = 3;
        for (let step = 2; step <= 5; step++) await desk.finishStep(metrics(step), cost);
      });

      await expect(steps).rejects.toMatchObject({ code: 'model_files.disk_full' });

      expect((await readTraining(store, 'distill'))?.checkpoints.map(({ step }) => step)).toEqual([1]);
      expect((await LoopDesk.open(options(store, engine, { every, epoch: 2 }))).firstStep).toBe(2);
    });

    it('tells who stopped it, not that the last save failed', async () => {
      const [store, engine] = [new PlacedStore(), new NotingEngine()];
      engine.fullFor = 9;

      await expect(take(await LoopDesk.open(options(store, engine)), 1, new Aborted('the step'))).rejects.toThrow(Aborted);
    });

    it('keeps records for when there is room, and removes a checkpoint whose state found none', async () => {
      const [store, engine] = [new FullStore(), new NotingEngine()];
      const desk = await LoopDesk.open(options(store, engine, { every: { kind: 'steps', every: 1 } }));
      const steps = desk.attend(5, async () => {
        store.isFull = true;
        await desk.finishStep(metrics(1), cost);
        store.isFull = false;
        await desk.finishStep(metrics(2), cost);
        store.fullFor = 'state/distill.json';
        await desk.finishStep(metrics(3), cost);
        throw new EngineFailed('enough');
      });

      await expect(steps).rejects.toThrow(EngineFailed);
      expect(Buffer.from((await store.read('metrics.jsonl')) ?? []).toString('utf8').match(/"step":\d/g)).toEqual(['"step":1', '"step":2', '"step":3']);
      expect(store.removed.at(-1)).toBe('checkpoints/distill/3.1');
      expect((await readTraining(store, 'distill'))?.checkpoints.map(({ step }) => step)).toEqual([2]);
    });
  });
});
