import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Ground } from './ground.js';
import { ModelDirectory, writeModelDirectory } from '../model-files/model-directory.js';
import { writeInterchangeModel } from '../model-files/onnx/interchange-model.js';
import { modelCard, type ModelCardFacts } from './model-card.js';
import { readState, writeState } from './run-state.js';
import { accountSchema } from './schemas.js';
import { runStage } from './stages.js';
import { StateDamaged } from './distillation.errors.js';

const STATE_FILE = 'state/export.json';
const STUDENT = 'student';

const exportState = z.strictObject({ sha256: z.string(), account: accountSchema });
export type ExportState = z.output<typeof exportState>;

/**
 * Writes the student: a Hugging Face directory with tokenizer, template and model card, and the ONNX model if asked for, which must agree with
 * the engine. The directory `student` appears whole or not at all.
 */
export async function exportStage(ground: Ground, card: Pick<ModelCardFacts, 'evaluation'>): Promise<ExportState> {
  const { store, clock, onEvent } = ground;
  const name = { stage: 'export', label: 'export' } as const;
  const stored = await readState(store, STATE_FILE, exportState);
  if (stored) {
    onEvent({ kind: 'stage_skipped', ...name });
    return stored;
  }
  return runStage(ground, name, async () => {
    const began = clock();
    const staging = `staging.${ground.epoch}`;
    await store.remove(staging);
    await store.remove(STUDENT);
    await writeStudent(ground, `${staging}/student`, card);
    await store.publish(`${staging}/student`, STUDENT);
    await store.remove(staging);
    const state = { sha256: await weightsHash(ground), account: { seconds: (clock() - began) / 1000, tokens: 0, teacher_calls: 0 } };
    await writeState(store, STATE_FILE, state);
    return state;
  });
}

async function writeStudent(ground: Ground, name: string, card: Pick<ModelCardFacts, 'evaluation'>): Promise<void> {
  const { store, engine, config, modelDir, plan } = ground;
  const weightsDir = store.path(`${name}.weights`);
  await engine.exportWeights(weightsDir);
  const weights = await ModelDirectory.open(weightsDir);
  try {
    const tensors = weights.names.map((tensor) => weights.lazyTensor(tensor));
    const extraFiles = { 'README.md': await describeStudent(ground, card) };
    await writeModelDirectory(store.path(name), { config, tensors, copyTokenizerFrom: modelDir, extraFiles });
  } finally {
    await weights.close();
  }
  if (plan.export.includes('onnx')) await writeInterchangeModel(store.path(name));
}

async function describeStudent({ spec, identity, engine }: Ground, { evaluation }: Pick<ModelCardFacts, 'evaluation'>): Promise<string> {
  const { implementation, build } = await engine.describe();
  return modelCard({ spec, teacherFingerprint: identity.teacher, specHash: identity.spec, promptsHash: identity.prompts, engine: `${implementation}, ${build}`, evaluation });
}

async function weightsHash({ store }: Ground): Promise<string> {
  const file = `${STUDENT}/model.safetensors`;
  const bytes = await store.read(file);
  if (!bytes) throw new StateDamaged(`${file} is not where the export put it; remove ${STATE_FILE} and resume to export again`);
  return createHash('sha256').update(bytes).digest('hex');
}
