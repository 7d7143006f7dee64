import { z } from 'zod';
import type { Engine } from '../engine/engine.js';
import { readCardFacts } from '../model-files/model-card.js';
import { ModelDirectory, writeModelDirectory } from '../model-files/model-directory.js';
import { writeInterchangeModel } from '../model-files/onnx/interchange-model.js';
import { StageMissing, StateDamaged } from './distillation.errors.js';
import { summarise } from './evaluation-record.js';
import { readEvaluations, type EvaluationRecords } from './evaluate-stage.js';
import type { Ground } from './ground.js';
import { checkInterchange, describeAgreement } from './interchange-check.js';
import { studentCard, type StudentCardFacts } from './model-card.js';
import { accountSchema, readState, writeState } from './run-state.js';
import { runStage } from './stage-events.js';
import { reach } from './training-stages.js';

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
 * The stage `export`. Writes the student: a Hugging Face directory with tokenizer, template and model card, and the ONNX model if asked for, which must agree with
 * the engine. The directory `student` appears whole or not at all. The teacher is not asked.
 */
export async function exportStage(ground: Ground, signal?: AbortSignal): Promise<ExportState> {
  const { store, clock, onEvent, plan } = ground;
  const name = { stage: 'export', label: 'export' } as const;
  const stored = await readState(store, STATE_FILE, exportState);
  if (stored) {
    onEvent({ kind: 'stage_skipped', ...name });
    return stored;
  }
  return runStage(ground, name, async () => {
    const began = clock();
    const evaluation = summariseAll(await readEvaluations(ground), ground.seed);
    const engine = await reach(ground, 'align', signal);
    const staging = `staging.${ground.epoch}`;
    await store.remove(staging);
    await store.remove(STUDENT);
    await writeStudent({ ...ground, engine }, `${staging}/student`, evaluation);
    const onnx = plan.export.includes('onnx') ? await writeInterchange({ ...ground, engine }, `${staging}/student`) : undefined;
    await store.publish(`${staging}/student`, STUDENT);
    await store.remove(staging);
    const state = { sha256: await weightsHash(ground), onnx, account: { seconds: (clock() - began) / 1000, tokens: 0, teacher_calls: 0 } };
    await writeState(store, STATE_FILE, state);
    return state;
  });
}

/** @throws StageMissing when there was no export. */
export async function readExport({ store }: Pick<Ground, 'store'>): Promise<ExportState> {
  const state = await readState(store, STATE_FILE, exportState);
  if (!state) throw new StageMissing(`${STATE_FILE} is not there: the stage export comes first`);
  return state;
}

/** Every evaluation with its intervals. */
export function summariseAll({ teacher, before, after_distill, after_align }: EvaluationRecords, seed: number): StudentCardFacts['evaluation'] {
  return { teacher: summarise(teacher, seed), before: summarise(before, seed), after_distill: summarise(after_distill, seed), after_align: summarise(after_align, seed) };
}

/** The ground with the engine that holds the final weights. */
type ExportGround = Ground & { readonly engine: Engine };

async function writeStudent(ground: ExportGround, name: string, evaluation: StudentCardFacts['evaluation']): Promise<void> {
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
async function writeInterchange({ store, engine, onEvent, heldOut, stopIds, runInterchange: run }: ExportGround, name: string): Promise<ExportState['onnx']> {
  const modelPath = await writeInterchangeModel(store.path(name));
  const agreement = await checkInterchange({ engine, run, modelPath, prompts: heldOut.map(({ ids_T }) => ids_T), stopIds });
  onEvent({ kind: 'check', name: 'onnx agreement', verdict: 'passed', found: describeAgreement(agreement) });
  const { positions, meanAbs, maxAbs, greedyDifferences } = agreement;
  return { positions, mean_abs: meanAbs, max_abs: maxAbs, greedy_differences: greedyDifferences };
}

async function describeStudent({ spec, identity, engine, modelDir }: ExportGround, evaluation: StudentCardFacts['evaluation']): Promise<string> {
  const { implementation, build } = await engine.describe();
  return studentCard({ spec, identity, engine: `${implementation}, ${build}`, evaluation, starting: await readCardFacts(modelDir) });
}

async function weightsHash({ store }: Ground): Promise<string> {
  const file = `${STUDENT}/model.safetensors`;
  const sha256 = await store.sha256(file);
  if (sha256 === undefined) throw new StateDamaged(`${file} is not where the export put it; resume to export again`);
  return sha256;
}
