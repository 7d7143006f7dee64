import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import type { OptimStep } from '../../../engine/engine.js';
import { HostedEngine } from '../../../engine/host/hosted-engine.js';
import type { ModelConfig } from '../../../model-files/config.js';
import { ModelDirectory, writeModelDirectory } from '../../../model-files/model-directory.js';
import type { PackedBatch, PackedTargets } from '../../../tokens/batch.js';
import { normaliseTargets, type TargetBlock } from '../../../tokens/target.js';
import { SHAPES, writeRandomModel, type ShapeName } from '../shapes.js';

/** Sequences of one training step, tokens of each, and how many of them are prompt, which carries no loss. */
export const STEP = { sequences: 8, length: 512, promptTokens: 128 } as const;
/** Sequences of a workload: as many as the largest batch that is generated. */
const SEQUENCES = 32;
/** Ids whose teacher probability is stored at a position. */
export const SUPPORT = 64;
export const OPTIMIZER: OptimStep = { learningRate: 1e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, clip: 1 };
/** Loss of every training run. */
export const LOSS = { kind: 'forward_kl', truncation: 'tail_bucket' } as const;

/** What every side of the comparisons of one shape works on; the paths are absolute. */
export interface Workload {
  readonly shape: ShapeName;
  readonly studentDir: string;
  readonly teacherDir: string;
  /** A step trains on the first of them; generation continues the beginnings of all. */
  readonly sequences: readonly Int32Array[];
  /** Top `SUPPORT` of the teacher and the tail, for every row of a step that has loss. */
  readonly targets: PackedTargets;
  readonly files: WorkloadFiles;
}

/** The same tokens and targets as plain arrays, little-endian, for the peers. */
export interface WorkloadFiles {
  /** int32 [sequences x length] */
  readonly tokens: string;
  /** int32 and float32 [rows x SUPPORT], float32 [rows] */
  readonly targetIds: string;
  readonly targetLogProbs: string;
  readonly targetTails: string;
}

/** Writes student, teacher, tokens and stored targets of a shape into `dir`; models that are there already stay. */
export async function makeWorkload(shape: ShapeName, dir: string): Promise<Workload> {
  const root = resolve(dir, shape);
  await mkdir(root, { recursive: true });
  const studentDir = join(root, 'student');
  const teacherDir = join(root, 'teacher');
  if (!existsSync(studentDir)) await writeRandomModel(SHAPES[shape], studentDir);
  if (!existsSync(teacherDir)) await writeTeacher(studentDir, teacherDir);
  const sequences = randomSequences(SHAPES[shape]);
  const targets = packTargets((await scoreOnce(teacherDir, sequences.slice(0, STEP.sequences))).map(onlySupport));
  const files = { tokens: join(root, 'tokens.i32'), targetIds: join(root, 'target-ids.i32'), targetLogProbs: join(root, 'target-log-probs.f32'), targetTails: join(root, 'target-tails.f32') };
  await writeFile(files.tokens, Buffer.concat(sequences.map(bytesOf)));
  await writeFile(files.targetIds, bytesOf(targets.ids_E));
  await writeFile(files.targetLogProbs, bytesOf(targets.logProbs_E));
  await writeFile(files.targetTails, bytesOf(targets.tail_R));
  return { shape, studentDir, teacherDir, sequences, targets, files };
}

/** The first sequences as one batch; every token behind the prompt carries loss. */
export function packStep(sequences: readonly Int32Array[], targets: PackedTargets): PackedBatch {
  const { length, promptTokens } = STEP;
  const rows = sequences.flatMap((_, s) => Array.from({ length: length - promptTokens }, (_, row) => s * length + promptTokens - 1 + row));
  const tokens_N = Int32Array.from(sequences.flatMap((ids) => [...ids]));
  return {
    tokens_N,
    cuSeqlens_S1: Int32Array.from({ length: sequences.length + 1 }, (_, s) => s * length),
    rows_R: Int32Array.from(rows),
    weights_R: new Float32Array(rows.length).fill(1),
    labels_R: Int32Array.from(rows, (row) => tokens_N[row + 1]),
    targets,
  };
}

/** Normalised targets of blocks that follow one another. */
export function packTargets(blocks: readonly TargetBlock[]): PackedTargets {
  const normalised = blocks.map((block) => ({ ...block, ...normaliseTargets(block) }));
  const lengths = blocks.flatMap(({ offsets_R1 }) => [...offsets_R1.subarray(1)].map((end, row) => end - offsets_R1[row]));
  const offsets_R1 = new Int32Array(lengths.length + 1);
  for (const [row, length] of lengths.entries()) offsets_R1[row + 1] = offsets_R1[row] + length;
  return {
    offsets_R1,
    ids_E: Int32Array.from(blocks.flatMap(({ ids_S }) => [...ids_S])),
    logProbs_E: Float32Array.from(normalised.flatMap(({ logProbs_S }) => [...logProbs_S])),
    tail_R: Float32Array.from(normalised.flatMap(({ tail_R }) => [...tail_R])),
  };
}

/** A block whose rows are the best `SUPPORT` ids alone: an actual id that was appended behind them goes to the tail, so that rows have one width. */
export function onlySupport(block: TargetBlock): TargetBlock {
  const rows = block.offsets_R1.length - 1;
  const kept = Array.from({ length: rows }, (_, row) => block.offsets_R1[row]);
  const tail_R = Float32Array.from(block.tail_R, (tail, row) => {
    const appended = block.logProbs_S.subarray(kept[row] + SUPPORT, block.offsets_R1[row + 1]);
    return appended.reduce((sum, logProb) => sum + Math.exp(logProb), tail);
  });
  return {
    ...block,
    offsets_R1: Int32Array.from({ length: rows + 1 }, (_, row) => row * SUPPORT),
    ids_S: Int32Array.from(kept.flatMap((begin) => [...block.ids_S.subarray(begin, begin + SUPPORT)])),
    logProbs_S: Float32Array.from(kept.flatMap((begin) => [...block.logProbs_S.subarray(begin, begin + SUPPORT)])),
    tail_R,
  };
}

/** The items of a stream. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** What a teacher is asked about each sequence: its distribution over every token behind the prompt. */
export function scoreRequest(sequences: readonly Int32Array[]): { sequences: { ids_T: Int32Array; from: number }[]; k: number } {
  return { sequences: sequences.map((ids_T) => ({ ids_T, from: STEP.promptTokens })), k: SUPPORT };
}

async function scoreOnce(teacherDir: string, sequences: readonly Int32Array[]): Promise<TargetBlock[]> {
  const teacher = await HostedEngine.start({ engine: { implementation: 'native', modelDir: teacherDir, threads: availableParallelism() } });
  try {
    return await collect(teacher.score(scoreRequest(sequences)));
  } finally {
    await teacher.close();
  }
}

/**
 * A teacher of the student's shape: its weights in reverse order, so that the two have nothing in common, and its last norm 8 times as large. Logits then spread as a trained
 * model's do, and the best 64 ids hold nearly all of the probability; with the small spread of random weights they would hold next to none.
 */
async function writeTeacher(studentDir: string, teacherDir: string): Promise<void> {
  const student = await ModelDirectory.open(studentDir);
    const tensors = await Promise.all(
    student.names.map(async (name) => {
      const tensor = await student.tensor(name);
      const values = new Uint16Array(tensor.bytes.slice().buffer).reverse();
      if (name === 'model.norm.weight') values.fill(0x4100); // 8 in bf16
      return { ...tensor, name, bytes: new Uint8Array(values.buffer) };
    }),
  );
  try {
    await writeModelDirectory(teacherDir, { config: student.config, tensors });
  } finally {
    await student.close();
  }
}

// Numerical Recipes' 32-bit generator. Ids below 16 stay out: they may end a sequence.
function randomSequences({ vocabSize }: ModelConfig): Int32Array[] {
  let state = 1;
  const id = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 16 + Math.floor((state / 2 ** 32) * (vocabSize - 16));
  };
  return Array.from({ length: SEQUENCES }, () => Int32Array.from({ length: STEP.length }, id));
}

function bytesOf(values: Int32Array | Float32Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}
