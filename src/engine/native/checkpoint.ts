import { access, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { sha256OfFile } from '../../common/file-hash.js';
import { writeDirectoryAtomic, writeFileAtomic } from '../../model-files/atomic.js';
import { configJson } from '../../model-files/config.js';
import { SafetensorsFile, writeSafetensors } from '../../model-files/safetensors.js';
import { CheckpointInvalid, EngineFailed, type CheckpointRef } from '../engine.js';
import type { ParameterSet } from './parameters.js';
import { fillState } from './weights.js';

/** What training carries from step to step besides the step itself; one file each. */
const STATES = ['master', 'm', 'v'] as const;
const MANIFEST = 'checkpoint.json';

const manifestSchema = z.strictObject({
  format: z.literal(1),
  step: z.int().min(0),
  build: z.string(),
  config: z.record(z.string(), z.unknown()),
  files: z.strictObject({ master: fileSchema(), m: fileSchema(), v: fileSchema() }),
});

function fileSchema() {
  return z.strictObject({ bytes: z.int().min(8), sha256: z.string().regex(/^[0-9a-f]{64}$/) });
}

type Manifest = z.infer<typeof manifestSchema>;
type FileRecord = Manifest['files']['master'];

/** What a checkpoint holds or is loaded into. */
export interface TrainingState {
  readonly parameters: ParameterSet;
  /** Instruction set, threads and library versions of this process. */
  readonly build: string;
}

/**
 * Writes a checkpoint aside, every file durable before the manifest that lists them, and renames it to `ref.dir`.
 * @returns bytes of all its files. @throws CheckpointInvalid when `ref.dir` exists.
 */
export async function writeCheckpoint(state: TrainingState, { dir, step }: CheckpointRef): Promise<number> {
  if (await exists(dir)) throw new CheckpointInvalid(`${dir} exists already; a checkpoint is written into a new directory`);
  let bytes = 0;
  await writeDirectoryAtomic(dir, async (aside) => {
    const files = { master: await writeState(state, aside, 'master'), m: await writeState(state, aside, 'm'), v: await writeState(state, aside, 'v') };
    const manifest = { format: 1, step, build: state.build, config: configJson(state.parameters.config), files };
    const text = `${JSON.stringify(manifest, null, 2)}\n`;
    await writeFileAtomic(join(aside, MANIFEST), Buffer.from(text));
    bytes = Object.values(files).reduce((sum, file) => sum + file.bytes, Buffer.byteLength(text));
  });
  return bytes;
}

/**
 * Reads a checkpoint into the engine after every file has been checked. @returns the build that wrote it.
 * @throws CheckpointInvalid with nothing changed; EngineFailed when a checked file could not be read again.
 */
export async function readCheckpoint(state: TrainingState, ref: CheckpointRef): Promise<{ build: string }> {
  const manifest = await readManifest(ref, state.parameters);
  for (const name of STATES) await checkFile(join(ref.dir, fileName(name)), manifest.files[name], state.parameters);
  state.parameters.startTraining();
  try {
    for (const name of STATES) await readState(state, ref.dir, name);
  } catch (error) {
    throw new EngineFailed(`the checkpoint in ${ref.dir} could not be read again after it was checked`, { cause: error });
  }
  state.parameters.roundWeights();
  state.parameters.dropGradients();
  return { build: manifest.build };
}

function fileName(name: (typeof STATES)[number]): string {
  return `${name}.safetensors`;
}

async function writeState({ parameters }: TrainingState, dir: string, name: (typeof STATES)[number]): Promise<FileRecord> {
  const path = join(dir, fileName(name));
  await writeSafetensors(path, parameters.windows(name).map(({ part, copy }) => ({
    name: part.name,
    dtype: 'F32' as const,
    shape: part.shape,
    read: () => Promise.resolve(new Uint8Array(copy().buffer)),
  })));
  return describeFile(path);
}

async function describeFile(path: string): Promise<FileRecord> {
  return { bytes: (await stat(path)).size, sha256: await sha256OfFile(path) };
}

async function readManifest({ dir, step }: CheckpointRef, parameters: ParameterSet): Promise<Manifest> {
  const path = join(dir, MANIFEST);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new CheckpointInvalid(`${path} cannot be read; a whole checkpoint directory is needed`, { cause: error });
  }
  const manifest = parseManifest(text, path);
  if (manifest.step !== step) throw new CheckpointInvalid(`${path} is of step ${manifest.step}; step ${step} was asked for`);
  if (JSON.stringify(manifest.config) !== JSON.stringify(configJson(parameters.config))) {
    throw new CheckpointInvalid(`${path} belongs to a model of another configuration`);
  }
  return manifest;
}

function parseManifest(text: string, path: string): Manifest {
  try {
    return manifestSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new CheckpointInvalid(`${path} is not the manifest of a checkpoint of this version: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

async function checkFile(path: string, wanted: FileRecord, parameters: ParameterSet): Promise<void> {
  let found: FileRecord;
  try {
    found = await describeFile(path);
  } catch (error) {
    throw new CheckpointInvalid(`${path} cannot be read`, { cause: error });
  }
  if (found.bytes !== wanted.bytes) throw new CheckpointInvalid(`${path} has ${found.bytes} bytes; its manifest says ${wanted.bytes}`);
  if (found.sha256 !== wanted.sha256) throw new CheckpointInvalid(`${path} is damaged: its sha256 is ${found.sha256}; its manifest says ${wanted.sha256}`);
  const file = await SafetensorsFile.open(path);
  try {
    for (const { part } of parameters.windows('master')) {
      const entry = file.entries.get(part.name);
      if (entry?.dtype !== 'F32' || entry.shape.join() !== part.shape.join()) throw new CheckpointInvalid(`${path} needs ${part.name} as F32 [${part.shape.join(', ')}]`);
    }
  } finally {
    await file.close();
  }
}

async function readState({ parameters }: TrainingState, dir: string, name: (typeof STATES)[number]): Promise<void> {
  const file = await SafetensorsFile.open(join(dir, fileName(name)));
  try {
    await fillState(parameters.windows(name), (tensor, buffer) => ({ dtype: 'F32', pieces: file.pieces(tensor, buffer) }));
  } finally {
    await file.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
