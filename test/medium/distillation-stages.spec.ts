import { cp, open, readFile, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunReport } from '../../src/distillation/report.js';
import { performStage, runDistillation, stagesOf, type Stage, type StageOutcome } from '../../src/distillation/run.js';
import type { TrainingState } from '../../src/distillation/training-state.js';
import { EngineFailed } from '../../src/engine/engine.js';
import { ReferenceEngine } from '../../src/engine/reference/reference-engine.js';
import { DirectoryStore } from '../../src/storage/directory-store.js';
import { TeacherClient, TeacherUnavailable, type TeacherCapabilities } from '../../src/teacher-clients/teacher-client.js';
import { EngineTeacher } from '../support/engine-teacher.js';
import { TinyRun, tinySpec, type Attempt, type AttemptOptions } from '../support/tiny-run.js';

/** Cannot be reached, whatever it is asked. */
class DeadTeacher extends TeacherClient {
  async probe(): Promise<never> {
    throw new TeacherUnavailable('nobody answers');
  }
  async tokenize(): Promise<never> {
    throw new TeacherUnavailable('nobody answers');
  }
  async *generate(): AsyncGenerator<never> {
    throw new TeacherUnavailable('nobody answers');
  }
  async *score(): AsyncGenerator<never> {
    throw new TeacherUnavailable('nobody answers');
  }
  async close(): Promise<void> {}
}

/** Answers like the run's own, and says that it is another. */
class OtherTeacher extends EngineTeacher {
  override async probe(k: number): Promise<TeacherCapabilities> {
    return { ...(await super.probe(k)), fingerprint: 'another' };
  }
}

let run: TinyRun;
let whole: Attempt;
let report: RunReport;

/** A stage in a context of its own; the epoch is that of the run's claims so far. */
async function perform(stage: Stage, options: AttemptOptions): Promise<Attempt & { readonly outcome: StageOutcome; readonly opened: number }> {
  let opened = 0;
  const attempt = run.attempt({
    openEngine: (dir) => {
      opened++;
      return ReferenceEngine.open(dir);
    },
    ...options,
  });
  return { ...attempt, outcome: await performStage(stage, attempt.context), opened };
}

async function performThrough(last: Stage, out: string): Promise<void> {
  const stages = stagesOf(tinySpec());
  for (const stage of stages.slice(0, stages.indexOf(last) + 1)) await perform(stage, { out, epoch: 1 });
}

const withoutPlaceAndTime = (value: RunReport): unknown => JSON.parse(JSON.stringify(value, (key, field: unknown) => (key === 'seconds' || key === 'student_dir' ? undefined : field)));
const asksOf = (attempts: readonly Attempt[]) => attempts.flatMap(({ teacher }) => [...teacher.written, ...teacher.scored]).sort();
const stateOf = async (out: string, stage: 'distill' | 'align'): Promise<TrainingState> => JSON.parse(await readFile(join(run.home, out, 'state', `${stage}.json`), 'utf8'));

/** Turns a bit in the newest checkpoints of a stage. @returns their names. */
async function damage(out: string, stage: 'distill' | 'align', count: number): Promise<string[]> {
  const names = (await stateOf(out, stage)).checkpoints.slice(0, count).map(({ name }) => name);
  for (const name of names) {
    const file = await open(join(run.home, out, name, 'state.safetensors'), 'r+');
    const { size } = await file.stat();
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
    await file.write(Buffer.of(buffer[0] ^ 1), 0, 1, size - 1);
    await file.close();
  }
  return names;
}

beforeAll(async () => {
  run = await TinyRun.lay();
  whole = run.attempt({ out: 'whole', epoch: 1 });
  report = await runDistillation(whole.context);
});
afterAll(() => run.remove());

describe('stages performed one by one, each in a context of its own', () => {
  it('end with the report and the weights of a run in one go', async () => {
    const performed: (Attempt & { readonly outcome: StageOutcome; readonly opened: number })[] = [];
    for (const stage of stagesOf(tinySpec())) performed.push(await perform(stage, { out: 'apart', epoch: 1 }));

    const { student_sha256 } = performed[5].outcome.report!;
    expect(student_sha256).toBe(report.student_sha256);
    expect(withoutPlaceAndTime(performed[5].outcome.report!)).toEqual(withoutPlaceAndTime(report));
    expect(JSON.parse(await readFile(join(run.home, 'apart', 'report.json'), 'utf8'))).toEqual(performed[5].outcome.report);
    expect(asksOf(performed)).toEqual(asksOf([whole]));
    expect(performed.map(({ opened }) => opened)).toEqual([1, 0, 1, 1, 1, 1]);
    expect(performed.slice(0, 5).map(({ outcome }) => outcome.report)).toEqual([undefined, undefined, undefined, undefined, undefined]);
    expect(performed[0].outcome.plan).toMatchObject({ steps: { align: 6 }, teacher_requests: 24 + 4 + 12 + 18 });
    expect(performed[0].outcome.plan?.checks.map(({ name }) => name)).toEqual(expect.arrayContaining(['held-out prompts', 'teacher', 'tokenizers', 'losses']));
    expect(performed.map(({ outcome }) => outcome.account.teacher_calls)).toEqual([0, 28, 0, 18, 12, 0]);
  });

  it('tell of checkpoints and samples as they are committed', async () => {
    const { steps, checkpoints } = await stateOf('whole', 'distill');
    const told = whole.events.filter((event) => event.kind === 'checkpoint');
    const samples = whole.events.filter((event) => event.kind === 'samples');

    expect(told.filter(({ stage }) => stage === 'distill').slice(-3).map(({ name, bytes }) => ({ name, bytes })).reverse()).toEqual(checkpoints.map(({ name, bytes }) => ({ name, bytes })));
    expect(checkpoints.map(({ step }) => step)).toEqual([steps, steps - (steps % 2 || 2), steps - (steps % 2 || 2) - 2]);
    expect(told.filter(({ stage }) => stage === 'align').map(({ step, metrics }) => [step, metrics?.step])).toEqual([[2, 2], [4, 4], [6, 6]]);
    expect(samples.map(({ label, samples: { length } }) => [label, length])).toEqual([['before', 4], ['after_distill', 4], ['after_align', 4]]);
    expect(samples[2].samples[0].prompt).toContain('nut');
  });

  it('need nobody but the store where the teacher is not asked', async () => {
    await performThrough('collect', 'dead');
    await perform('distill', { out: 'dead', epoch: 2, teacher: new DeadTeacher() });
    await perform('align', { out: 'dead', epoch: 2 });
    await expect(perform('evaluate', { out: 'dead', epoch: 2, teacher: new DeadTeacher() })).rejects.toMatchObject({ code: 'teacher.unavailable' });
    await perform('evaluate', { out: 'dead', epoch: 3 });
    const { outcome } = await perform('export', { out: 'dead', epoch: 3, teacher: new DeadTeacher() });

    expect(outcome.report?.student_sha256).toBe(report.student_sha256);
  });

  it.each(['collect', 'align', 'evaluate'] as const)('refuse in %s a teacher that is not the one the run began with', async (stage) => {
    const out = `other-${stage}`;
    await performThrough(stagesOf(tinySpec())[stagesOf(tinySpec()).indexOf(stage) - 1], out);
    const teacher = new OtherTeacher({ engine: await ReferenceEngine.open(join(run.home, 'teacher')), tokenizer: run.inputs.tokenizer });

    await expect(perform(stage, { out, epoch: 2, teacher })).rejects.toMatchObject({ code: 'distillation.resume_mismatch', message: expect.stringContaining('the teacher') });
    expect(teacher.written).toEqual([]);
    expect(teacher.scored).toEqual([]);
  });

  it('go on in the middle of evaluate without measuring anything twice', async () => {
    await performThrough('align', 'evaluated');
    const first = run.attempt({
      out: 'evaluated',
      epoch: 2,
      onEvent: (event) => {
        if (event.kind === 'stage_finished' && event.label === 'evaluate after distill') throw new TeacherUnavailable('the teacher went away');
      },
    });
    await expect(performStage('evaluate', first.context)).rejects.toMatchObject({ code: 'teacher.unavailable' });

    const second = await perform('evaluate', { out: 'evaluated', epoch: 3 });

    expect([first.teacher.scored.length, second.teacher.scored.length]).toEqual([8, 4]);
    expect(second.events.filter(({ kind }) => kind === 'stage_skipped')).toHaveLength(2);
    expect((await perform('export', { out: 'evaluated', epoch: 3 })).outcome.report?.evaluation).toEqual(report.evaluation);
  });

  it('ask again only for answers that somebody removed', async () => {
    await performThrough('collect', 'removed');
    await rm(join(run.home, 'removed', 'shards', 'heldout-00000.safetensors'));

    const again = await perform('collect', { out: 'removed', epoch: 2 });
    const untouched = await perform('collect', { out: 'removed', epoch: 3, teacher: new DeadTeacher() });

    expect([again.teacher.written.length, untouched.events.map(({ kind }) => kind)]).toEqual([4, ['stage_skipped']]);
    expect(untouched.outcome.account.teacher_calls).toBe(28);
  });

  it('refuse to come before their turn', async () => {
    await expect(perform('collect', { out: 'early', epoch: 1 })).rejects.toMatchObject({ code: 'distillation.stage_missing', message: expect.stringContaining('validate') });
    await perform('validate', { out: 'early', epoch: 1 });
    await expect(perform('distill', { out: 'early', epoch: 1 })).rejects.toMatchObject({ code: 'distillation.stage_missing', message: expect.stringContaining('collect') });
    await perform('collect', { out: 'early', epoch: 1 });
    await expect(perform('align', { out: 'early', epoch: 1 })).rejects.toMatchObject({ code: 'distillation.stage_missing', message: expect.stringContaining('distill') });
    await expect(perform('export', { out: 'early', epoch: 1 })).rejects.toMatchObject({ code: 'distillation.stage_missing', message: expect.stringContaining('evaluat') });
  });

  it('leave align out where it has no steps', async () => {
    const spec = tinySpec({ align: { ...tinySpec().method.distillation.align, steps: 0 } });
    const performed = [];
    for (const stage of stagesOf(spec)) performed.push(await perform(stage, { out: 'unaligned', epoch: 1, spec }));

    expect([performed[3].opened, performed[3].outcome.account]).toEqual([0, { seconds: 0, tokens: 0, teacher_calls: 0 }]);
    const { evaluation, stages } = performed[5].outcome.report!;
    expect(evaluation.after_align).toEqual(evaluation.after_distill);
    expect(evaluation.after_distill).toEqual(report.evaluation.after_distill);
    expect(stages.align).toEqual({ seconds: 0, tokens: 0, teacher_calls: 0 });
  });
});

/** Where in writing its second checkpoint a process is killed. */
type Boundary = 'before the checkpoint has its name' | 'before the state file names the checkpoint' | 'before the attempt hears that it is committed';

class KilledStore extends DirectoryStore {
  private commits = 0;
  constructor(root: string, private readonly boundary: Boundary) {
    super(root);
  }
  override async write(name: string, bytes: Uint8Array): Promise<void> {
    const dies = name === 'state/distill.json' && ++this.commits === 2;
    if (dies && this.boundary === 'before the state file names the checkpoint') throw new EngineFailed('killed');
    await super.write(name, bytes);
    if (dies) throw new EngineFailed('killed');
  }
}

/** An engine that is killed when its second checkpoint is written and not yet renamed. */
async function openKilledEngine(dir: string): Promise<ReferenceEngine> {
  const engine = await ReferenceEngine.open(dir);
  const save = engine.save.bind(engine);
  let saves = 0;
  engine.save = async (to) => {
    if (++saves < 2) return save(to);
    await save(join(dirname(to), `.${basename(to)}.partial`));
    throw new EngineFailed('killed');
  };
  return engine;
}

describe('a checkpoint cut short', () => {
  it.each<readonly [Boundary, number]>([
    ['before the checkpoint has its name', 3],
    ['before the state file names the checkpoint', 3],
    ['before the attempt hears that it is committed', 5],
  ])('%s leaves one to go on from', async (boundary, firstStep) => {
    const out = `cut-${firstStep}-${boundary.length}`;
    await performThrough('collect', out);
    const { context } = run.attempt({ out, epoch: 1 });
    const killed = boundary === 'before the checkpoint has its name' ? { openEngine: openKilledEngine } : { store: new KilledStore(join(run.home, out), boundary) };
    await expect(performStage('distill', { ...context, ...killed })).rejects.toMatchObject({ code: 'engine.failed' });

    const { events } = await perform('distill', { out, epoch: 2 });
    for (const stage of ['align', 'evaluate'] as const) await perform(stage, { out, epoch: 1 });

    expect(events.filter(({ kind }) => kind === 'resumed')).toEqual([{ kind: 'resumed', stage: 'distill', firstStep }]);
    expect((await perform('export', { out, epoch: 1 })).outcome.report?.student_sha256).toBe(report.student_sha256);
  });
});

describe('a damaged checkpoint', () => {
  it.each(['distill', 'align'] as const)('of %s is set aside, and what it held is done again from the one before', async (stage) => {
    const out = `damaged-${stage}`;
    await performThrough(stage, out);
    const names = await damage(out, stage, 2);
    const next = await perform(stage === 'distill' ? 'align' : 'evaluate', { out, epoch: 2 });

    expect(next.events.flatMap((event) => (event.kind === 'quarantined' ? [event.name] : []))).toEqual(names);
    expect((await stateOf(out, stage)).checkpoints.map(({ name }) => name.split('.')[1])).toEqual(['2', '2', '1']);
    expect(await next.context.store.list('quarantine/')).toEqual(names.flatMap((name) => ['checkpoint.json', 'state.safetensors'].map((file) => `${name.replace('checkpoints', 'quarantine')}/${file}`)).sort());
    if (stage === 'distill') await perform('evaluate', { out, epoch: 2 });
    expect((await perform('export', { out, epoch: 2 })).outcome.report?.student_sha256).toBe(report.student_sha256);
  });

  it('at the very end is made good from the journal, the teacher being gone', async () => {
    await performThrough('evaluate', 'journal');
    await damage('journal', 'align', 1);

    const { outcome, events } = await perform('export', { out: 'journal', epoch: 2, teacher: new DeadTeacher() });

    expect(outcome.report?.student_sha256).toBe(report.student_sha256);
    expect(events).toContainEqual({ kind: 'resumed', stage: 'align', firstStep: 5 });
  });

  it('is no reason to begin anew when there is no other', async () => {
    await cp(join(run.home, 'whole'), join(run.home, 'lost'), { recursive: true });
    await rm(join(run.home, 'lost', 'state', 'export.json'));
    await rm(join(run.home, 'lost', 'checkpoints', 'align'), { recursive: true });

    for (const epoch of [2, 3]) {
      await expect(perform('export', { out: 'lost', epoch })).rejects.toMatchObject({ code: 'distillation.no_valid_checkpoint', kind: 'conflict', message: expect.stringContaining('align') });
    }
    expect((await stateOf('lost', 'align')).checkpoints).toEqual([]);
  });
});
