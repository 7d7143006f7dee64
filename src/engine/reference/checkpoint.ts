import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeDirectoryAtomic, writeFileAtomic } from '../../model-files/atomic.js';
import { configJson, type ModelConfig } from '../../model-files/config.js';
import { expectedTensors } from '../../model-files/parameters.js';
import { decodeSafetensors, encodeSafetensors, type NamedTensor } from '../../model-files/safetensors.js';
import { CheckpointInvalid, type CheckpointRef, type SavedCheckpoint } from '../engine.js';
import type { Moments } from './adamw.js';

const STATE_FILE = 'state.safetensors';
const MANIFEST = 'checkpoint.json';
const FORMAT = 'limbeck-reference-1';

/** Everything needed to go on as if nothing had happened. */
export interface TrainingState {
  readonly weights: ReadonlyMap<string, Float64Array>;
  readonly moments: Moments;
}

/** Writes `dir` whole or not at all, the state durable before the manifest that describes it. @throws CheckpointInvalid when `dir` exists; it is left alone. */
export async function writeCheckpoint(dir: string, config: ModelConfig, state: TrainingState): Promise<SavedCheckpoint> {
  if (existsSync(dir)) throw new CheckpointInvalid(`${dir} exists already; a checkpoint is written into a new directory`);
  const { step } = state.moments;
  const metadata = { format: FORMAT, step: String(step), config: JSON.stringify(configJson(config)) };
  const bytes = encodeSafetensors(stateTensors(config, state), metadata);
  const manifest = describeState(bytes);
  await writeDirectoryAtomic(dir, async (aside) => {
    await writeFileAtomic(join(aside, STATE_FILE), bytes);
    await writeFileAtomic(join(aside, MANIFEST), Buffer.from(manifest));
  });
  return { dir, step, bytes: bytes.length + Buffer.byteLength(manifest) };
}

/** @throws CheckpointInvalid when a file is missing or damaged, or the checkpoint is of another model or step. */
export async function readCheckpoint(ref: CheckpointRef, config: ModelConfig): Promise<TrainingState> {
  const where = join(ref.dir, STATE_FILE);
  const bytes = await readPart(where);
  const manifest = await readPart(join(ref.dir, MANIFEST));
  if (manifest.toString('utf8') !== describeState(bytes)) throw new CheckpointInvalid(`${where} is not what ${MANIFEST} says; the checkpoint is damaged`);
  const { tensors, metadata } = decodeSafetensors(bytes, where);
  if (metadata.format !== FORMAT) throw new CheckpointInvalid(`${where} has format ${metadata.format}; this engine reads ${FORMAT}`);
  if (metadata.config !== JSON.stringify(configJson(config))) throw new CheckpointInvalid(`${where} belongs to another model: ${metadata.config}`);
  if (metadata.step !== String(ref.step)) throw new CheckpointInvalid(`${where} was written at step ${metadata.step}, not ${ref.step}`);
  const group = (prefix: string): Map<string, Float64Array> =>
    new Map([...expectedTensors(config).keys()].map((name) => [name, readFloat64(tensors.get(`${prefix}.${name}`), where)]));
  return { weights: group('weight'), moments: { first: group('first'), second: group('second'), step: ref.step } };
}

function stateTensors(config: ModelConfig, { weights, moments }: TrainingState): NamedTensor[] {
  const tensors: NamedTensor[] = [];
  for (const [prefix, group] of Object.entries({ weight: weights, first: moments.first, second: moments.second })) {
    for (const [name, shape] of expectedTensors(config)) {
      const values = group.get(name);
      if (!values) throw new Error(`the training state has no ${prefix} of ${name}`);
      tensors.push({ name: `${prefix}.${name}`, dtype: 'F64', shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) });
    }
  }
  return tensors;
}

function readFloat64(tensor: NamedTensor | undefined, where: string): Float64Array {
  if (tensor?.dtype !== 'F64') throw new CheckpointInvalid(`${where} lacks a tensor of the model`);
  return new Float64Array(Uint8Array.from(tensor.bytes).buffer); // slice() of a Buffer would share its memory
}

async function readPart(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new CheckpointInvalid(`${path} cannot be read`, { cause });
  }
}

function describeState(bytes: Uint8Array): string {
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return `${JSON.stringify({ files: { [STATE_FILE]: { bytes: bytes.length, sha256 } } })}\n`;
}
