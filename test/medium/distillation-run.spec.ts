import { createHash } from 'node:crypto';
import { cp, readFile, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunEvent, StepMetrics } from '../../src/distillation/events.js';
import type { RunReport } from '../../src/distillation/report.js';
import { runDistillation } from '../../src/distillation/run.js';
import { EngineFailed, type Engine } from '../../src/engine/engine.js';
import { ReferenceEngine } from '../../src/engine/reference/reference-engine.js';
import { ModelDirectory } from '../../src/model-files/model-directory.js';
import { Tokenizer } from '../../src/model-files/tokenizer.js';
import { TeacherUnavailable } from '../../src/teacher-clients/teacher-client.js';
import { DirectoryStore } from '../../src/storage/directory-store.js';
import { EngineTeacher } from '../support/engine-teacher.js';
import { runHere, tinyPrompts, TinyRun, tinySpec, type Attempt as Prepared, type AttemptOptions as PreparedOptions } from '../support/tiny-run.js';

let run: TinyRun;
let home: string;

/** One attempt of a run on a directory: what it told, and what the teacher was asked. */
interface Attempt extends Prepared {
  readonly outcome: Promise<RunReport>;
}

type AttemptOptions = PreparedOptions & { readonly signal?: AbortSignal };

function attempt({ signal, ...options }: AttemptOptions): Attempt {
  const prepared = run.attempt(options);
  return { ...prepared, outcome: runDistillation(prepared.context, signal) };
}

/** An engine that dies in its n-th optimiser step. */
async function openMortal(dir: string, diesAt: number): Promise<Engine> {
  const engine = await ReferenceEngine.open(dir);
  const optimStep = engine.optimStep.bind(engine);
  let steps = 0;
  engine.optimStep = async (step) => {
    if (++steps === diesAt) throw new EngineFailed('the engine was killed');
    return optimStep(step);
  };
  return engine;
}

/** Fails like a teacher that cannot be reached, once a step is booked. */
const leaveAfter = (stage: StepMetrics['stage'], step: number) => (event: RunEvent): void => {
  if (event.kind === 'progress' && event.stage === stage && event.done === step) throw new TeacherUnavailable('the teacher went away');
};

const shaOf = async (out: string) => createHash('sha256').update(await readFile(join(home, out, 'student', 'model.safetensors'))).digest('hex');
const metricsOf = async (out: string): Promise<StepMetrics[]> =>
  (await readFile(join(home, out, 'metrics.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line));
const duplicates = (asked: readonly string[]) => asked.length - new Set(asked).size;

describe('a whole run on a tiny model', () => {
  let undisturbed: Attempt;
  let report: RunReport;
  let distillSteps: number;

  beforeAll(async () => {
    run = await TinyRun.lay();
    home = run.home;
    undisturbed = attempt({ out: 'undisturbed', epoch: 1 });
    report = await undisturbed.outcome;
    distillSteps = (await metricsOf('undisturbed')).filter(({ stage }) => stage === 'distill').length;
  });
  afterAll(() => run.remove());

  it('brings the forward KL on held-out teacher text down in distill', () => {
    const { before, after_distill } = report.evaluation;

    expect(after_distill.forward_kl_teacher_text).toBeLessThan(before.forward_kl_teacher_text);
    expect(report.differences.distill_forward_kl.high).toBeLessThan(0);
    expect(report.differences.distill_forward_kl.value).toBeCloseTo(after_distill.forward_kl_teacher_text - before.forward_kl_teacher_text, 12);
  });

  it('measures the teacher as its own student', () => {
    expect(report.evaluation.teacher).toMatchObject({ prompts: 4, forward_kl_teacher_text: 0, reverse_kl_own_rollouts: 0, top1_agreement: 1 });
    expect(report.evaluation.teacher.mean_length).toBeGreaterThan(1);
    expect(report.evaluation.teacher.teacher_entropy).toBeCloseTo(report.evaluation.before.teacher_entropy ?? NaN, 5);
    expect(report.evaluation.teacher.tail_mass).toBeGreaterThan(0);
  });

  it('writes the report, a record for each step, samples and the student', async () => {
    const metrics = await metricsOf('undisturbed');

    expect(JSON.parse(await readFile(join(home, 'undisturbed', 'report.json'), 'utf8'))).toEqual(report);
    expect(metrics.map(({ step }) => step)).toEqual([...Array.from({ length: distillSteps }, (_, index) => index + 1), 1, 2, 3, 4, 5, 6]);
    expect(metrics[distillSteps].rollout_gap).toBeLessThan(1e-6);
    expect(report.stages.align.teacher_calls).toBe(18);
    expect(report.stages.collect.teacher_calls).toBe(24);
    expect(report.stages.evaluate.teacher_calls).toBe(16);
    expect((await readFile(join(home, 'undisturbed', 'samples', 'after_align.jsonl'), 'utf8')).trim().split('\n').length).toBe(4);
    expect(report.student_dir).toBe(join(home, 'undisturbed', 'student'));
    expect(report.student_sha256).toBe(await shaOf('undisturbed'));
    await (await ModelDirectory.open(report.student_dir)).close();
    expect((await Tokenizer.load(report.student_dir)).encode('sun')).toEqual(run.inputs.tokenizer.encode('sun'));
    expect(report.onnx_agreement?.positions).toBe(4 * 32);
    expect(report.onnx_agreement?.max_abs).toBeLessThan(0.1);
    expect(await readFile(join(report.student_dir, 'README.md'), 'utf8')).toMatch(/forward KL on teacher text[^]*after align/);
  });

  it('asks the teacher nothing twice', () => {
    expect(undisturbed.teacher.written.length).toBe(28);
    expect(duplicates(undisturbed.teacher.written)).toBe(0);
  });

  it.each([
    ['distill', 3],
    ['distill', 4],
    ['distill', 7],
    ['align', 3],
    ['align', 4],
    ['align', 6],
  ] as const)('ends with the same weights after its engine dies in %s step %d', async (stage, step) => {
    const out = `killed-${stage}-${step}`;
    const diesAt = stage === 'distill' ? step : distillSteps + step;
    const first = attempt({ out, epoch: 1, openEngine: (dir) => openMortal(dir, diesAt) });
    await expect(first.outcome).rejects.toMatchObject({ code: 'engine.failed' });

    const second = attempt({ out, epoch: 2 });
    const resumed = await second.outcome;

    expect(resumed.student_sha256).toBe(report.student_sha256);
    expect(second.events.find(({ kind }) => kind === 'resumed')).toEqual({ kind: 'resumed', stage, firstStep: step % 2 === 0 ? step - 1 : step });
    expect(duplicates([...first.teacher.written, ...second.teacher.written])).toBe(0);
    expect([...first.teacher.scored, ...second.teacher.scored].sort()).toEqual([...undisturbed.teacher.scored].sort());
    expect((await metricsOf(out)).map((metrics) => [metrics.stage, metrics.step, metrics.loss])).toEqual((await metricsOf('undisturbed')).map((metrics) => [metrics.stage, metrics.step, metrics.loss]));
  });

  it.each(['distill', 'align'] as const)('stops on request in %s with a checkpoint of the last finished step', async (stage) => {
    const out = `stopped-${stage}`;
    const stop = new AbortController();
    const onEvent = (event: RunEvent): void => {
      if (event.kind === 'step' && event.metrics.stage === stage && event.metrics.step === 3) stop.abort();
    };
    const first = attempt({ out, epoch: 1, signal: stop.signal, onEvent });
    await expect(first.outcome).rejects.toMatchObject({ code: 'common.aborted' });

    const second = attempt({ out, epoch: 2 });

    expect((await second.outcome).student_sha256).toBe(report.student_sha256);
    expect(second.events.find(({ kind }) => kind === 'resumed')).toMatchObject({ stage, firstStep: 4 });
  });

  it('does nothing again when the run is whole', async () => {
    const again = attempt({ out: 'undisturbed', epoch: 2 });

    expect(await again.outcome).toEqual(report);
    expect(again.teacher.written).toEqual([]);
    expect(again.teacher.scored).toEqual([]);
  });

  it('keeps what was finished when the teacher goes away, and goes on when it is back', async () => {
    const first = attempt({ out: 'left', epoch: 1, onEvent: leaveAfter('align', 3) });
    await expect(first.outcome).rejects.toMatchObject({ code: 'teacher.unavailable' });

    const second = attempt({ out: 'left', epoch: 2 });

    expect((await second.outcome).student_sha256).toBe(report.student_sha256);
    expect(second.events.find(({ kind }) => kind === 'resumed')).toMatchObject({ stage: 'align', firstStep: 4 });
  });

  it('refuses to go on with another spec, and changes nothing', async () => {
    const { outcome: refused } = attempt({ out: 'undisturbed', epoch: 3, spec: { ...tinySpec(), seed: 8 } });

    await expect(refused).rejects.toMatchObject({ code: 'distillation.resume_mismatch', message: expect.stringContaining('the spec') });
    expect(await shaOf('undisturbed')).toBe(report.student_sha256);
  });

  it('publishes nothing when the ONNX model disagrees with the engine', async () => {
    const first = attempt({ out: 'disagreeing', epoch: 1, runInterchange: async (job) => (await runHere(job)).map((result) => ({ ...result, positions: result.positions.map((at) => ({ ...at, actualLogProb: at.actualLogProb - 0.3 })) })) });
    await expect(first.outcome).rejects.toMatchObject({ code: 'distillation.export_disagrees', message: expect.stringContaining('mean 3.0e-1') });
    expect(await new DirectoryStore(join(home, 'disagreeing')).list('student/')).toEqual([]);

    expect((await attempt({ out: 'disagreeing', epoch: 2 }).outcome).student_sha256).toBe(report.student_sha256);
  });

  it('refuses bad input before any work, and leaves no file', async () => {
    const { context, teacher: own } = run.attempt({ out: 'refused', epoch: 1 });
    const teacher = new EngineTeacher({ engine: await ReferenceEngine.open(join(home, 'teacher')), tokenizer: { encode: () => Int32Array.of(1) } });
    await expect(runDistillation({ ...context, teacher })).rejects.toMatchObject({ code: 'distillation.preflight_failed', check: 'tokenizers' });
    await expect(runDistillation({ ...context, validationPrompts: tinyPrompts(0, 1) })).rejects.toMatchObject({ check: 'held-out prompts' });
    await expect(runDistillation({ ...context, freeMemoryBytes: 1 })).rejects.toMatchObject({ check: 'memory' });
    await rm(join(home, 'damaged'), { recursive: true, force: true });
    await cp(context.modelDir, join(home, 'damaged'), { recursive: true });
    await truncate(join(home, 'damaged', 'model.safetensors'), 3000);
    await expect(runDistillation({ ...context, modelDir: join(home, 'damaged') })).rejects.toMatchObject({ code: 'model_files.safetensors_invalid' });

    expect([...teacher.written, ...own.written]).toEqual([]);
    expect(await context.store.list('')).toEqual([]);
  });

  it('passes on to the engine, in every stage that trains, what is recomputed', async () => {
    const asked: (string | undefined)[] = [];
    const openEngine = async (dir: string): Promise<Engine> => {
      const engine = await ReferenceEngine.open(dir);
      const forwardBackward = engine.forwardBackward.bind(engine);
      engine.forwardBackward = async (batch, loss, normalizer, options) => {
        asked.push(`${loss.kind}: ${options?.recompute}`);
        return forwardBackward(batch, loss, normalizer, options);
      };
      return engine;
    };

    await attempt({ out: 'recomputed', epoch: 1, spec: tinySpec({ recompute: 'layers', controls: 'all' }), openEngine }).outcome;

    expect(new Set(asked)).toEqual(new Set(['forward_kl: layers', 'reverse_kl: layers', 'hard: layers']));
  });

  it('trains the control hard on as many loss tokens at three rates and keeps the best', async () => {
    const rows: number[] = [];
    const openEngine = async (dir: string): Promise<Engine> => {
      const engine = await ReferenceEngine.open(dir);
      const forwardBackward = engine.forwardBackward.bind(engine);
      const slot = rows.push(0) - 1;
      engine.forwardBackward = async (batch, loss, normalizer, options) => {
        expect(loss.kind).toBe('hard');
        rows[slot] += batch.rows_R.length;
        return forwardBackward(batch, loss, normalizer, options);
      };
      return engine;
    };

    const { evaluation, hard_learning_rate, student_sha256 } = await attempt({ out: 'undisturbed', epoch: 3, spec: tinySpec({ controls: 'all' }), openEngine }).outcome;

    const lossTokens = (await metricsOf('undisturbed')).filter(({ stage }) => stage === 'distill').reduce((sum, { loss_tokens }) => sum + loss_tokens, 0);
    const tried = await Promise.all([0, 1, 2].map(async (index) => JSON.parse(await readFile(join(home, 'undisturbed', 'controls', `hard-${index}.json`), 'utf8'))));
    const forwardKls = tried.map(({ prompts }) => prompts.reduce((sum: number, { text }: { text: { forward_kl: number } }) => sum + text.forward_kl, 0));
    expect(rows[0]).toBe(0);
    for (const trained of rows.slice(1)) expect(Math.abs(trained - lossTokens)).toBeLessThanOrEqual(10);
    expect(rows.length).toBe(4);
    expect(hard_learning_rate).toBeCloseTo([1e-2 / 3, 1e-2, 3e-2][forwardKls.indexOf(Math.min(...forwardKls))], 12);
    expect(evaluation.controls?.unigram.forward_kl_teacher_text).toBeGreaterThan(0);
    expect(evaluation.controls?.hard.forward_kl_teacher_text).toBeGreaterThan(0);
    expect(student_sha256).toBe(report.student_sha256);

    const again = attempt({ out: 'undisturbed', epoch: 4, spec: tinySpec({ controls: 'all' }) });
    expect((await again.outcome).evaluation.controls).toEqual(evaluation.controls);
    expect(again.teacher.scored).toEqual([]);
  });
});
