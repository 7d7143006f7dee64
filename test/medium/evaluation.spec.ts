import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { evaluateStudent, type Bench } from '../../src/distillation/evaluation.js';
import { packBatch } from '../../src/distillation/packing.js';
import { column } from '../../src/distillation/train-step.js';
import type { Engine } from '../../src/engine/engine.js';
import { NativeEngine } from '../../src/engine/native/native-engine.js';
import type { TeacherClient } from '../../src/teacher-clients/teacher-client.js';
import { listed } from '../support/scored-batch.js';
import { writeTinyModel } from '../support/tiny-model.js';

const SHAPE = { layers: 2, hidden: 48, intermediate: 80, heads: 4, kvHeads: 2, headDim: 16, vocab: 300, tied: true, tokenizer: 'none' } as const;
const K = 6;

let dir: string;
let student: Engine;
let teacher: Engine;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'limbeck-evaluation-'));
  await writeTinyModel(join(dir, 'student'), { ...SHAPE, seed: 1 });
  await writeTinyModel(join(dir, 'teacher'), { ...SHAPE, seed: 2 });
  student = await NativeEngine.open({ modelDir: join(dir, 'student'), threads: 2 });
  teacher = await NativeEngine.open({ modelDir: join(dir, 'teacher'), threads: 2 });
});

afterAll(async () => {
  await Promise.all([student.close(), teacher.close()]);
  await rm(dir, { recursive: true, force: true });
});

it('gives every rollout the divergence that it has alone, whatever the order and the batches they are measured in', async () => {
  const prompts = [7, 3, 5].map((length, p) => ({ ids_T: Int32Array.from({ length }, (_, t) => (p * 41 + t * 13) % 300) }));
  const scoring: Pick<TeacherClient, 'score'> = { score: (sequences, k) => teacher.score({ sequences, k }) };
  const bench: Bench = {
    teacher: scoring as TeacherClient, tokenizer: { decode: () => '' } as unknown as Bench['tokenizer'], clock: () => 0,
    prompts, teacherText: [], maxTokens: 9, rolloutsPerPrompt: 4, stopIds: Array.from({ length: 20 }, (_, id) => 15 * id), k: K, seed: 7, microBatchTokens: 40,
  };

  const { record, rollouts } = await evaluateStudent(student, { bench, label: 'x' });

  const found = record.prompts.flatMap((prompt) => prompt.rollouts.map(({ bucketed_reverse_kl }) => bucketed_reverse_kl));
  const wanted: number[] = [];
  for (const [p] of prompts.entries()) {
    for (const rollout of rollouts.filter((_, place) => place % prompts.length === p)) {
      const [targets] = await listed(teacher.score({ sequences: [{ ids_T: Int32Array.of(...rollout.prompt_T, ...rollout.completion_T), from: rollout.prompt_T.length }], k: K }));
      const { rowMetrics_RM } = await student.forward(packBatch([{ ...rollout, targets }], 'reverse_kl'), { kind: 'reverse_kl', truncation: 'tail_bucket' });
      wanted.push([...column([rowMetrics_RM], 'reverseKl')].reduce((sum, value) => sum + value, 0));
    }
  }
  expect(found).toHaveLength(12);
  expect(new Set(wanted.map((value) => value.toFixed(2))).size).toBeGreaterThan(8);
  found.forEach((value, rollout) => expect(Math.abs((value ?? NaN) - wanted[rollout])).toBeLessThan(0.02 * wanted[rollout]));
});
