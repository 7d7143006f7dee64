import { describe, expect, it } from 'vitest';
import { FakeTeacherRuntime } from '../../test/support/fake-teacher-runtime.js';
import { TeacherCounters } from './counters.js';
import type { RunRules } from './runtime.js';
import { Scheduler } from './scheduler.js';
import type { SequenceAnswer, SequenceAsk } from './sequence.js';
import { RuntimeFailed } from './teacher-server.errors.js';

const V = 100;
const DRAWN = 7;

function scheduled(
  options: { maxSequences?: number; queueLimit?: number } = {},
  rules: Partial<RunRules> = {},
): { runtime: FakeTeacherRuntime; scheduler: Scheduler; counters: TeacherCounters } {
  const { maxSequences = 4, queueLimit = 8 } = options;
  const runtime = new FakeTeacherRuntime(DRAWN, rules);
  const counters = new TeacherCounters();
  const scheduler = new Scheduler({ runtime, counters, vocabSize: V, maxSequences, queueLimit, retryAfterSeconds: 3 });
  return { runtime, scheduler, counters };
}

/** The signal of a client that stays. */
function never(): AbortSignal {
  return new AbortController().signal;
}

function generating(maxTokens: number, length = 10): SequenceAsk {
  return {
    prompt_T: new Int32Array(length).fill(1),
    sampling: { temperature: 1, topP: 1, topK: 0, maxTokens, stopIds: [] },
    key: { seed: 1, prompt: 0, sample: 0 },
    logprobs: undefined,
    promptLogprobs: undefined,
    scoredFrom: 1,
  };
}

function scoring(length = 10): SequenceAsk {
  return { ...generating(1, length), promptLogprobs: 2 };
}

describe('Scheduler', () => {
  it('reads prompts of one layout together and decodes them together', async () => {
    const { runtime, scheduler } = scheduled();
    const answer = scheduler.answer([generating(3), generating(3), generating(2)], never());
    expect([await runtime.step(), await runtime.step(), await runtime.step()]).toEqual([[0, 1, 2], [0, 1, 2], [0, 1]]);
    expect((await answer).map(({ completion, finish }) => ({ completion, finish }))).toEqual([
      { completion: [DRAWN, DRAWN, DRAWN], finish: 'length' },
      { completion: [DRAWN, DRAWN, DRAWN], finish: 'length' },
      { completion: [DRAWN, DRAWN], finish: 'length' },
    ]);
    expect(runtime.runs.map(({ parts }) => parts.map(({ held, ids_S, after }) => [held, ids_S.length, after]))).toEqual([
      [[0, 10, 'decode'], [0, 10, 'decode'], [0, 10, 'decode']],
      [[10, 1, 'decode'], [10, 1, 'decode'], [10, 1, 'forget']],
      [[11, 1, 'forget'], [11, 1, 'forget']],
    ]);
  });

  it('keeps prompts of another length class for a run of their own', async () => {
    const { runtime, scheduler } = scheduled();
    const answer = scheduler.answer([scoring(10), scoring(40), scoring(12)], never());
    expect([await runtime.step(), await runtime.step()]).toEqual([[0, 2], [1]]);
    expect((await answer).map(({ promptScores }) => promptScores.length)).toEqual([9, 39, 11]);
  });

  it('reads a long prompt in chunks and holds each run to its limits', async () => {
    const { runtime, scheduler } = scheduled({}, { positions: 256 });
    const answer = scheduler.answer([scoring(300), scoring(300), scoring(300)], never());
    const lanes = [];
    for (let run = 0; run < 5; run++) lanes.push(await runtime.step());
    expect(lanes).toEqual([[0, 1], [2], [0, 1], [2], [0, 1, 2]]);
    expect((await answer).map(({ promptScores }) => promptScores.length)).toEqual([299, 299, 299]);
    expect(runtime.runs.map(({ parts }) => parts.map(({ held, ids_S, after }) => [held, ids_S.length, after])[0])).toEqual([
      [0, 128, 'read'], [0, 128, 'read'], [128, 128, 'read'], [128, 128, 'read'], [256, 44, 'forget'],
    ]);
  });

  it('holds a run to its rows', async () => {
    const { runtime, scheduler } = scheduled({}, { rows: 25 });
    const answer = scheduler.answer([scoring(10), scoring(10), scoring(10)], never());
    expect([await runtime.step(), await runtime.step()]).toEqual([[0, 1], [2]]);
    await answer;
  });

  it('takes turns between scoring and decoding', async () => {
    const { runtime, scheduler } = scheduled();
    const written = scheduler.answer([generating(4)], never());
    await runtime.step();
    await runtime.begun();
    const scored = scheduler.answer([scoring(300)], never());
    const lanes = [];
    for (let run = 0; run < 6; run++) lanes.push(...(await runtime.step()));
    expect(lanes).toEqual([0, 1, 0, 1, 0, 1]);
    await Promise.all([written, scored]);
  });

  it('lets neither kind wait for the other kind to leave its places', async () => {
    const { runtime, scheduler } = scheduled({ maxSequences: 1 });
    const first = scheduler.answer([generating(3)], never());
    const second = scheduler.answer([generating(2)], never());
    const scored = scheduler.answer([scoring()], never());
    await runtime.begun();
    expect(scheduler.load).toEqual({ waiting: 1, running: 2 });
    const lanes = [];
    for (let run = 0; run < 5; run++) lanes.push(...(await runtime.step()));
    expect(lanes).toEqual([0, 2, 0, 0, 1, 1]);
    await Promise.all([first, second, scored]);
  });

  it('runs rows that return many ids apart from the others', async () => {
    const { runtime } = scheduled();
    const wide = new Scheduler({ runtime, counters: new TeacherCounters(), vocabSize: 1000, maxSequences: 4, queueLimit: 8, retryAfterSeconds: 1 });
    const nucleus = { ...generating(1), sampling: { ...generating(1).sampling, topP: 0.9 } };
    const answer = wide.answer([generating(1), nucleus], never());
    expect([await runtime.step(), await runtime.step()]).toEqual([[0], [1]]);
    expect(runtime.runs.map(({ k }) => k)).toEqual([1, 1000]);
    await answer;
  });

  it('runs sequences of any lengths together where they need no padding', async () => {
    const { runtime, scheduler } = scheduled({}, { padding: undefined, chunk: 256, positions: 256 });
    const answer = scheduler.answer([scoring(10), scoring(40), scoring(300), generating(2, 12)], never());
    expect([await runtime.step(), await runtime.step(), await runtime.step()]).toEqual([[0, 1], [2], [3, 2]]);
    expect(await runtime.step()).toEqual([3]);
    expect(runtime.runs.map(({ parts }) => parts.map(({ held, ids_S }) => [held, ids_S.length]))).toEqual([[[0, 10], [0, 40]], [[0, 256]], [[0, 12], [256, 44]], [[12, 1]]]);
    await answer;
  });

  it('lets sequences wait whose positions find no room, and passes none over; what leaves nothing behind takes no room', async () => {
    const { runtime, scheduler } = scheduled({}, { heldPositions: 30 });
    const first = scheduler.answer([generating(2, 20)], never()); // 21 of 30
    const second = scheduler.answer([generating(2, 12)], never()); // 13 more do not fit
    const third = scheduler.answer([generating(1, 5)], never());
    await runtime.begun();
    expect(scheduler.load).toEqual({ waiting: 2, running: 1 });
    expect([await runtime.step(), await runtime.step(), await runtime.step()]).toEqual([[0], [0], [1, 2]]);
    await Promise.all([first, third]);
    await runtime.step();
    await second;
    const scores = scheduler.answer([scoring(100), scoring(100)], never());
    expect(await runtime.step()).toEqual([3, 4]);
    await scores;
  });

  it('reads the last id of a scored prompt apart where the draw behind it wants many ids', async () => {
    const { runtime } = scheduled();
    const wide = new Scheduler({ runtime, counters: new TeacherCounters(), vocabSize: 1000, maxSequences: 4, queueLimit: 8, retryAfterSeconds: 1 });
    const nucleus = { ...scoring(10), sampling: { ...scoring().sampling, topP: 0.9 } };
    const answer = wide.answer([nucleus], never());
    await runtime.step();
    await runtime.step();
    expect(runtime.runs.map(({ k, parts }) => [k, parts[0].ids_S.length, parts[0].rows.length])).toEqual([[2, 9, 9], [1000, 1, 1]]);
    expect((await answer)[0].promptScores).toHaveLength(9);
  });

  it('frees the places of a client that hangs up before the next run', async () => {
    const { runtime, scheduler, counters } = scheduled({ maxSequences: 2 });
    const client = new AbortController();
    const gone = scheduler.answer([generating(50), generating(50)], client.signal);
    const next = scheduler.answer([generating(2)], never());
    await runtime.step();
    await runtime.begun();
    expect(scheduler.load).toEqual({ waiting: 1, running: 2 });
    client.abort();
    await expect(gone).rejects.toMatchObject({ code: 'common.aborted' });
    await runtime.step();
    expect([await runtime.step(), await runtime.step()]).toEqual([[2], [2]]);
    await next;
    expect(runtime.forgotten).toEqual(expect.arrayContaining([0, 1, 2]));
    expect(counters.text(scheduler.load)).toContain('limbeck_teacher_sequences_abandoned_total 2\n');
  });

  it('drops a waiting client that hangs up', async () => {
    const { runtime, scheduler } = scheduled({ maxSequences: 1 });
    const client = new AbortController();
    const first = scheduler.answer([generating(1)], never());
    const gone = scheduler.answer([generating(1)], client.signal);
    client.abort();
    await expect(gone).rejects.toMatchObject({ code: 'common.aborted' });
    await runtime.step();
    await first;
    expect([scheduler.load, runtime.runs.length]).toEqual([{ waiting: 0, running: 0 }, 1]);
  });

  it('refuses what the queue cannot hold, and takes it again once there is room', async () => {
    const { runtime, scheduler } = scheduled({ maxSequences: 1, queueLimit: 2 });
    const taken = scheduler.answer([generating(1)], never());
    await runtime.begun();
    const waiting = scheduler.answer([generating(1), generating(1)], never());
    await expect(scheduler.answer([generating(1)], never())).rejects.toMatchObject({ code: 'teacher_server.queue_full', retryAfterSeconds: 3 });
    await runtime.step();
    await taken;
    await runtime.begun();
    const later = scheduler.answer([generating(1)], never());
    for (let run = 0; run < 3; run++) await runtime.step();
    expect((await Promise.all([waiting, later])).flat()).toHaveLength(3);
  });

  it('fails everyone when the runtime breaks, and whoever comes later', async () => {
    const { runtime, scheduler } = scheduled({ maxSequences: 1 });
    const both = Promise.allSettled([scheduler.answer([generating(2)], never()), scheduler.answer([generating(2)], never())]);
    await runtime.fail(new RuntimeFailed('out of memory'));
    expect((await both).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(scheduler.isHealthy).toBe(false);
    await expect(scheduler.answer([generating(1)], never())).rejects.toMatchObject({ code: 'teacher_server.runtime_failed' });
  });

  it('lets requests at work finish when it stops, and takes no more', async () => {
    const { runtime, scheduler } = scheduled();
    const answer = scheduler.answer([generating(2)], never());
    await runtime.begun();
    const stopped = scheduler.stop(60_000);
    await expect(scheduler.answer([generating(1)], never())).rejects.toMatchObject({ code: 'teacher_server.stopping' });
    await runtime.step();
    await runtime.step();
    await stopped;
    expect((await answer)[0].completion).toHaveLength(2);
  });

  it('drops requests that do not finish within the grace', async () => {
    const { runtime, scheduler } = scheduled();
    const answer: Promise<SequenceAnswer[]> = scheduler.answer([generating(1000)], never());
    const outcome = expect(answer).rejects.toMatchObject({ code: 'teacher_server.stopping' });
    await runtime.begun();
    const stopped = scheduler.stop(0);
    await outcome;
    await runtime.step();
    await stopped;
    expect(runtime.runs).toHaveLength(1);
  });
});
