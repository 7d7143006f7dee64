import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packBatch, type TargetedSample } from '../../distillation/packing.js';
import type { Engine } from '../../engine/engine.js';
import { ChatTemplate } from '../../model-files/chat-template.js';
import { readModelConfig } from '../../model-files/config.js';
import { pruneModel } from '../../model-files/prune.js';
import { Tokenizer } from '../../model-files/tokenizer.js';
import { demoPrompts } from '../demo/prompts.js';
import { openStudentEngine } from '../job.js';
import { humanProgress } from '../progress.js';
import { markdown } from '../result-table.js';

/** Training prompts, so that the held-out ones decide nothing. */
const PROMPTS = 32;
const MAX_TOKENS = 64;
const SUPPORT = 64;
const SEED = 7;
const SIZES = [28, 26, 24, 20, 15];

/** Forward KL on the teacher's own text without each single layer, then of students that keep 28 to 15 layers, the least harmful left out first. */
export async function studyLayers(teacherDir: string): Promise<string> {
  const samples = await teachersText(teacherDir);
  const { layers } = await readModelConfig(teacherDir);
  const all = Array.from({ length: layers }, (_, layer) => layer);
  const without: { readonly layer: number; readonly kl: number }[] = [];
  for (const layer of all) without.push({ layer, kl: await startingKl(teacherDir, all.filter((other) => other !== layer), samples) });
  const harmless = [...without].sort((a, b) => a.kl - b.kl).map(({ layer }) => layer);
  const students: string[][] = [];
  for (const size of SIZES) {
    const dropped = new Set(harmless.slice(0, layers - size));
    const kept = all.filter((layer) => !dropped.has(layer));
    students.push([String(size), (await startingKl(teacherDir, kept, samples)).toFixed(3), kept.join(',')]);
  }
  const ablation = [...without].sort((a, b) => a.kl - b.kl).map(({ layer, kl }) => [String(layer), kl.toFixed(4)]);
  return `${markdown([['layer left out', 'forward KL (nats)'], ...ablation])}\n\n${markdown([['layers kept', 'starting forward KL (nats)', 'which'], ...students])}`;
}

/** What the model writes to the demo's first prompts, with its own distribution at every token. */
async function teachersText(dir: string): Promise<TargetedSample[]> {
  const tokenizer = await Tokenizer.load(dir);
  const template = await ChatTemplate.load(dir);
  const { eosIds } = await readModelConfig(dir);
  const prompts = demoPrompts().train.slice(0, PROMPTS).map(({ messages }) => tokenizer.encode(template.render(messages, { addGenerationPrompt: 'add' })));
  return withEngine(dir, async (engine) => {
    const sampling = { temperature: 1, topP: 1, topK: 0, maxTokens: MAX_TOKENS, stopIds: eosIds };
    const written: Omit<TargetedSample, 'targets'>[] = [];
    for await (const { index, ids_T, finish } of engine.sample({ prompts: prompts.map((ids, sample) => ({ ids_T: ids, sample })), sampling, key: { seed: SEED, stage: 0, step: 0 } })) {
      written.push({ prompt_T: prompts[index], completion_T: ids_T, finish });
    }
    const sequences = written.map(({ prompt_T, completion_T }) => ({ ids_T: Int32Array.of(...prompt_T, ...completion_T), from: prompt_T.length }));
    const samples: TargetedSample[] = [];
    for await (const targets of engine.score({ sequences, k: SUPPORT })) samples.push({ ...written[targets.index], targets });
    return samples;
  });
}

async function startingKl(teacherDir: string, kept: readonly number[], samples: readonly TargetedSample[]): Promise<number> {
  const dir = await mkdtemp(join(tmpdir(), 'limbeck-layers-'));
  try {
    await pruneModel(teacherDir, join(dir, 'student'), kept);
    const batch = packBatch(samples, 'forward_kl');
    const { lossNats, weightSum } = await withEngine(join(dir, 'student'), (engine) => engine.forward(batch, { kind: 'forward_kl', truncation: 'tail_bucket' }));
    process.stderr.write(`kept ${kept.length}: ${(lossNats / weightSum).toFixed(4)} nats\n`);
    return lossNats / weightSum;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function withEngine<Result>(dir: string, use: (engine: Engine) => Promise<Result>): Promise<Result> {
  const engine = await openStudentEngine(dir, humanProgress());
  try {
    return await use(engine);
  } finally {
    await engine.close();
  }
}
