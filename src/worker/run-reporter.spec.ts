import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { DatabaseBusy, DatabaseUnavailable } from '../database/database.errors.js';
import type { RunEvent } from '../distillation/events.js';
import { FencedOut } from '../runs/stage-ledger.service.js';
import { RunReporter, type ReporterOptions } from './run-reporter.js';

const claim = { runId: 'ftjob-1', stageId: 7, stage: 'distill', epoch: 3, leaseMs: 60_000 } as const;
let told: string[];
let unwritten: unknown[];
let reporter: RunReporter;
let write: ReporterOptions['write'];

const reports: ReporterOptions['reports'] = {
  progress: async (_, { done }) => void told.push(`progress ${done}`),
  event: async (_, { type, message }) => void told.push(`${type} ${message}`),
  checkpoint: async (_, { step }) => void told.push(`checkpoint ${step}`),
  quarantine: async (_, { name }) => void told.push(`quarantine ${name}`),
  samples: async (_, label) => void told.push(`samples ${label}`),
  teacherAway: async (_, isAway) => void told.push(`teacher ${isAway ? 'away' : 'back'}`),
  teacherAttempts: async (_, count) => void told.push(`attempts ${count}`),
  metrics: async (_, { points }) => void told.push(`metrics ${points.map(({ step }) => step).join(',')}`),
};
const step = (number: number): RunEvent => ({
  kind: 'step',
  metrics: { stage: 'distill', step: number, steps: 9, loss: 1, grad_norm: NaN, learning_rate: 0, tokens: 0, loss_tokens: 0, seconds: 0, tokens_per_second: 0 },
});
const progress = (done: number): RunEvent => ({ kind: 'progress', stage: 'distill', label: 'distill', done, total: 9, unit: 'steps', rate: 1 });
const checkpoint: RunEvent = { kind: 'checkpoint', stage: 'distill', step: 2, name: 'c', bytes: 1, expired: [] };

beforeEach(() => {
  vi.useFakeTimers();
  told = [];
  unwritten = [];
  write = (work) => work();
  reporter = new RunReporter({ claim, reports, write: (work) => write(work), flushMs: 2_000, flushPoints: 14, onUnwritten: (error) => unwritten.push(error) });
});
afterEach(async () => {
  await reporter.close();
  vi.useRealTimers();
});

it('tells the newest progress, and after it the points gathered, at its interval', async () => {
  [step(1), progress(1), progress(2), progress(3)].forEach(reporter.onEvent);
  expect(told).toEqual([]);

  await vi.advanceTimersByTimeAsync(2_000);

  expect(told).toEqual(['progress 3', `metrics ${Array(7).fill(1).join(',')}`]);
});

it('tells at once that the teacher is away, and at its interval how often it was asked', async () => {
  reporter.onAttempt();
  reporter.onAway(true);
  reporter.onAttempt();
  await vi.advanceTimersByTimeAsync(0);
  expect(told).toEqual(['teacher away']);

  await vi.advanceTimersByTimeAsync(4_000);
  expect(told).toEqual(['teacher away', 'attempts 2']);
});

it('sends points as soon as a batch is full', async () => {
  [step(1), step(2)].forEach(reporter.onEvent);
  await vi.advanceTimersByTimeAsync(0);

  expect(told).toEqual([`metrics ${[1, 2].flatMap((number) => Array(7).fill(number)).join(',')}`]);
});

it('tells points before the checkpoint that holds their steps', async () => {
  [step(2), checkpoint].forEach(reporter.onEvent);
  await vi.advanceTimersByTimeAsync(0);

  expect(told).toEqual([`metrics ${Array(7).fill(2).join(',')}`, 'checkpoint 2']);
});

it('tells everything else in order', async () => {
  const events: RunEvent[] = [
    { kind: 'check', name: 'memory', verdict: 'warned', found: 'little' },
    { kind: 'warning', message: 'careful' },
    { kind: 'resumed', stage: 'distill', firstStep: 4 },
    { kind: 'quarantined', stage: 'distill', step: 2, name: 'bad', message: 'damaged' },
    { kind: 'samples', label: 'before', samples: [] },
    { kind: 'stage_started', stage: 'distill', label: 'distill' },
  ];
  events.forEach(reporter.onEvent);

  await reporter.close();

  expect(told).toEqual(['check.warned memory: little', 'warning careful', 'checkpoint.loaded distill goes on at step 4', 'quarantine bad', 'samples before']);
});

it('is settled once what was told before is written', async () => {
  let letGo: () => void = () => undefined;
  write = async (work) => {
    await new Promise<void>((resolve) => (letGo = resolve));
    await work();
  };
  reporter.onEvent(step(1));

  const settled = reporter.settled().then(() => told.push('settled'));
  await vi.advanceTimersByTimeAsync(0);
  expect(told).toEqual([]);
  letGo();
  await settled;

  expect(told).toEqual([`metrics ${Array(7).fill(1).join(',')}`, 'settled']);
});

it.each([new DatabaseUnavailable(undefined), new DatabaseBusy(undefined), new FencedOut(claim)])('is never settled after $code ended the tries of a write', async (failure) => {
  write = vi.fn<ReporterOptions['write']>((work) => work()).mockRejectedValueOnce(failure);
  [step(1), step(2)].forEach(reporter.onEvent);

  await expect(reporter.settled()).rejects.toBe(failure);
  await expect(reporter.settled()).rejects.toBe(failure);
});

it('is settled although a report was refused for what it is', async () => {
  write = vi.fn<ReporterOptions['write']>((work) => work()).mockRejectedValueOnce(new Error('not storable'));
  reporter.onEvent(step(1));

  await expect(reporter.settled()).resolves.toBeUndefined();
});

it('has written everything when it is closed, and goes on after a write that failed', async () => {
  const wrong = new Error('refused');
  write = vi.fn<ReporterOptions['write']>((work) => work()).mockRejectedValueOnce(wrong);
  [checkpoint, progress(5)].forEach(reporter.onEvent);

  await reporter.close();

  expect(told).toEqual(['progress 5']);
  expect(unwritten).toEqual([wrong]);
});
