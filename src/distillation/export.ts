import { createHash } from 'node:crypto';
import { z } from 'zod';
import { readCardFacts } from '../model-files/model-card.js';
import { ModelDirectory, writeModelDirectory } from '../model-files/model-directory.js';
import { writeInterchangeModel } from '../model-files/onnx/interchange-model.js';
import { StateDamaged } from './distillation.errors.js';
import type { Ground } from './ground.js';
import { checkInterchange, describeAgreement } from './interchange-check.js';
import { studentCard, type StudentCardFacts } from './model-card.js';
import { accountSchema, readState, writeState } from './run-state.js';
import { runStage } from './stages.js';

const STATE_FILE = 'state/export.json';
const STUDENT = 'student';

const exportState = z.strictObject({
  sha256: z.string(),
  /** Absent when no ONNX model was asked for. */
  onnx: z.strictObject({ positions: z.number(), mean_abs: z.number(), max_abs: z.number(), greedy_differences: z.number() }).optional(),
  account: accountSchema,
});
/** A committed export. */
export type ExportState = z.output<typeof exportState>;

/**
 * Writes the student: a Hugging Face directory with tokenizer, template and model card, and the ONNX model if asked for, which must agree with
 * the engine. The directory `student` appears whole or not at all.
 */
export async function exportStage(ground: Ground, evaluation: StudentCardFacts['evaluation']): Promise<ExportState> {
  const { store, clock, onEvent, plan } = ground;
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
    await writeStudent(ground, `${staging}/student`, evaluation);
    const onnx = plan.export.includes('onnx') ? await writeInterchange(ground, `${staging}/student`) : undefined;
    await store.publish(`${staging}/student`, STUDENT);
    await store.remove(staging);
    const state = { sha256: await weightsHash(ground), onnx, account: { seconds: (clock() - began) / 1000, tokens: 0, teacher_calls: 0 } };
    await writeState(store, STATE_FILE, state);
    return state;
  });
}

async function writeStudent(ground: Ground, name: string, evaluation: StudentCardFacts['evaluation']): Promise<void> {
  const { store, engine, config, modelDir } = ground;
  const weightsDir = store.path(`${name}.weights`);
  await engine.exportWeights(weightsDir);
  const weights = await ModelDirectory.open(weightsDir);
  try {
    const tensors = weights.names.map((tensor) => weights.lazyTensor(tensor));
    const extraFiles = { 'README.md': await describeStudent(ground, evaluation) };
    await writeModelDirectory(store.path(name), { config, tensors, copyTokenizerFrom: modelDir, extraFiles });
  } finally {
    await weights.close();
  }
}

/** Writes the ONNX model beside the weights and compares it with the engine. */
async function writeInterchange({ store, engine, onEvent, heldOut, runInterchange: run }: Ground, name: string): Promise<ExportState['onnx']> {
  const modelPath = await writeInterchangeModel(store.path(name));
  const agreement = await checkInterchange({ engine, run, modelPath, prompts: heldOut.map(({ ids_T }) => ids_T) });
  onEvent({ kind: 'check', name: 'onnx agreement', verdict: 'passed', found: describeAgreement(agreement) });
  const { positions, meanAbs, maxAbs, greedyDifferences } = agreement;
  return { positions, mean_abs: meanAbs, max_abs: maxAbs, greedy_differences: greedyDifferences };
}

async function describeStudent({ spec, identity, engine, modelDir }: Ground, evaluation: StudentCardFacts['evaluation']): Promise<string> {
  const { implementation, build } = await engine.describe();
  return studentCard({ spec, identity, engine: `${implementation}, ${build}`, evaluation, starting: await readCardFacts(modelDir) });
}

async function weightsHash({ store }: Ground): Promise<string> {
  const file = `${STUDENT}/model.safetensors`;
  const bytes = await store.read(file);
  if (!bytes) throw new StateDamaged(`${file} is not where the export put it; resume to export again`);
  return createHash('sha256').update(bytes).digest('hex');
}
