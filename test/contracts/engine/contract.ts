import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll } from 'vitest';
import type { OptimStep } from '../../../src/engine/engine.js';
import { ReferenceEngine } from '../../../src/engine/reference/reference-engine.js';
import { writeModelDirectory } from '../../../src/model-files/model-directory.js';
import type { PackedBatch } from '../../../src/tokens/batch.js';
import type { LossKind, LossSpec } from '../../../src/tokens/loss.js';
import type { ScoreSequence } from '../../../src/tokens/target.js';
import type { EngineKind, TestedEngine } from '../../support/engines.js';
import { scoredBatch } from '../../support/scored-batch.js';
import { TINY_MODEL, tinyConfig, tinyTensors, writeTinyModel, type TinyModelOptions } from '../../support/tiny-model.js';

/** How exact an implementation promises to be; the promises themselves are the same for all. */
export interface ContractBounds {
  /** Relative L2 distance of a step's gradient from that of the same step cut or packed in another way. */
  readonly gradient: number;
  /** Nats between log-probs, losses and metrics computed along different ways. */
  readonly nats: number;
  /** Share of draws that must be the id which the scored distribution and the random number name. */
  readonly drawsAsScored: number;
}

/** An implementation under the battery. */
export interface ContractedEngine extends EngineKind {
  readonly bounds: ContractBounds;
  /** What the tiny models are made of besides `STUDENT`. */
  readonly family?: Partial<TinyModelOptions>;
}

/** What the tests of one battery share: engines on tiny models, closed after each test, and batches with a teacher's targets. */
export interface Contract {
  readonly name: string;
  readonly bounds: ContractBounds;
  /** A fresh engine on the student. */
  readonly open: () => Promise<TestedEngine>;
  /** A fresh engine on another tiny model. */
  readonly openModel: (options: Partial<TinyModelOptions>) => Promise<TestedEngine>;
  /** A fresh engine on a model to which every id is equally probable. */
  readonly openFlat: () => Promise<TestedEngine>;
  readonly openDirectory: (modelDir: string) => Promise<TestedEngine>;
  readonly studentDir: () => string;
  /** A path in a scratch directory, nothing there yet. */
  readonly freshPath: () => string;
  /** Sequences with the targets of another model. */
  readonly batch: (sequences?: readonly ScoreSequence[]) => Promise<PackedBatch>;
}

export const STUDENT: TinyModelOptions = { ...TINY_MODEL, vocab: 61, tied: false, seed: 11, tokenizer: 'none' };

export const SEQUENCES: readonly ScoreSequence[] = [
  { ids_T: Int32Array.of(7, 31, 5, 60, 18, 22, 9), from: 3 },
  { ids_T: Int32Array.of(44, 3), from: 1 },
  { ids_T: Int32Array.of(12, 12, 50, 8, 29), from: 2 },
  { ids_T: Int32Array.of(0, 57, 33, 41, 2, 19, 36, 25, 10), from: 1 },
];

export const ADAM: OptimStep = { learningRate: 5e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.01, clip: 1 };
/** Reads the gradient's norm and forgets the gradient; weights stay. */
export const FROZEN: OptimStep = { ...ADAM, learningRate: 0 };

export const lossOf = (kind: LossKind): LossSpec => (kind === 'hard' ? { kind } : { kind, truncation: 'tail_bucket' });
export const FORWARD_KL = lossOf('forward_kl');

/** Call inside `describe`. */
export function setUpContract({ name, open, bounds, family }: ContractedEngine): Contract {
  const student = { ...STUDENT, ...family };
  let root = '';
  let paths = 0;
  const engines: TestedEngine[] = [];
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'limbeck-contract-'));
    await writeTinyModel(join(root, 'student'), student);
    await writeTinyModel(join(root, 'teacher'), { ...student, seed: 12 });
  });
  afterEach(async () => {
    await Promise.all(engines.splice(0).map((engine) => engine.close()));
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  const freshPath = (): string => join(root, `path-${++paths}`);
  const openDirectory = async (modelDir: string): Promise<TestedEngine> => {
    const engine = await open(modelDir);
    engines.push(engine);
    return engine;
  };
  return {
    name,
    bounds,
    freshPath,
    openDirectory,
    studentDir: () => join(root, 'student'),
    open: () => openDirectory(join(root, 'student')),
    openModel: async (options) => openDirectory(await writeTinyModel(freshPath(), { ...student, ...options })),
    openFlat: async () => openDirectory(await writeFlatModel(freshPath(), student)),
    batch: async (sequences = SEQUENCES) => scoredBatch(await ReferenceEngine.open(join(root, 'teacher')), sequences, 5),
  };
}

/** The student with a head of zeros. */
async function writeFlatModel(dir: string, student: TinyModelOptions): Promise<string> {
  const tensors = tinyTensors(student).map(({ name, shape, values }) => {
    const stored = name === 'lm_head.weight' ? new Float32Array(values.length) : values;
    return { name, dtype: 'F32' as const, shape, bytes: new Uint8Array(stored.buffer) };
  });
  await writeModelDirectory(dir, { config: tinyConfig(student), tensors });
  return dir;
}
