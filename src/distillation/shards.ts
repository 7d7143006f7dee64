import { createHash } from 'node:crypto';
import { z } from 'zod';
import { float32FromF16 } from '../model-files/floats.js';
import { decodeSafetensors, encodeSafetensors, type NamedTensor } from '../model-files/safetensors.js';
import type { TargetBlock } from '../tokens/target.js';
import { ShardDamaged, ShardInvalid } from './distillation.errors.js';
import { toFloat16Bits } from './float16.js';
import { packIds, unpackIds } from './packed-ids.js';
import type { TargetedSample } from './packing.js';

/** A sample in a shard, with the place it has in the request that asked for it. */
export interface ShardSample extends TargetedSample {
  /** Index of the prompt (collect) or of the rollout in its step (align). */
  readonly origin: number;
}

const manifest = z.object({
  format: z.literal('limbeck-targets-1'),
  /** Hash of what identifies the teacher. */
  teacher: z.string(),
  tokenizer: z.string(),
  template: z.string(),
  mode: z.enum(['think', 'no_think', 'plain']),
  /** Temperature of the stored distribution. */
  tau: z.literal('1'),
  k: z.string().regex(/^\d+$/),
  /** JSON of what the completions were drawn with. */
  sampling: z.string(),
  /** Hash of the request: the ids asked about and how. A shard answers exactly one request. */
  request: z.string(),
  /** Samples left out because their completion was empty. */
  empty: z.string().regex(/^\d+$/),
  /** Wall time the teacher took. */
  seconds: z.string().regex(/^\d+(\.\d+)?$/),
});

/** What a shard says of itself; safetensors metadata holds strings only. */
export type ShardManifest = z.output<typeof manifest>;

const NO_CHECKSUM = '0'.repeat(64);
const CHECKSUM_FIELD = '"sha256":"';

/**
 * One safetensors file: prompt and completion ids, how each completion ended, row lengths, 18-bit packed support ids, float16 log-probs,
 * float32 tails and log-probs of the sampled ids. The metadata hold the manifest and a sha256 of the whole file (its own 64 digits as zeros).
 * @throws ShardInvalid when an id needs more than 18 bits or a row more than 65535 entries.
 */
export function encodeShard(samples: readonly ShardSample[], about: ShardManifest): Uint8Array {
  const bytes = encodeSafetensors(tensorsOf(samples), { ...about, sha256: NO_CHECKSUM });
  const at = checksumPlace(bytes);
  if (at === undefined) throw new ShardInvalid('the manifest leaves no place for the checksum');
  bytes.set(Buffer.from(createHash('sha256').update(bytes).digest('hex'), 'latin1'), at);
  return bytes;
}

/**
 * Reads a shard back; log-probs come as float16 kept them, not normalised.
 * @param where named in errors.
 * @throws ShardDamaged when any bit differs from what was written.
 */
export function decodeShard(bytes: Uint8Array, where: string): { samples: ShardSample[]; manifest: ShardManifest } {
  verifyChecksum(bytes, where);
  const { tensors, metadata } = decodeSafetensors(bytes, where);
  const parsed = manifest.safeParse(metadata);
  if (!parsed.success) throw new ShardDamaged(`${where}: its manifest is of another version (${parsed.error.issues[0].path.join('.')}); remove the file to have it asked for again`);
  return { samples: samplesOf(tensors, where), manifest: parsed.data };
}

function verifyChecksum(bytes: Uint8Array, where: string): void {
  const at = checksumPlace(bytes);
  const cleared = Uint8Array.from(bytes); // slice() of a Buffer would share its memory
  if (at !== undefined) cleared.fill(0x30, at, at + 64);
  const stored = at === undefined ? undefined : Buffer.from(bytes.subarray(at, at + 64)).toString('latin1');
  if (stored !== createHash('sha256').update(cleared).digest('hex')) {
    throw new ShardDamaged(`${where} is damaged (checksum); remove the file to have it asked for again`);
  }
}

function checksumPlace(bytes: Uint8Array): number | undefined {
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(CHECKSUM_FIELD);
  return at < 0 || at + CHECKSUM_FIELD.length + 64 > bytes.length ? undefined : at + CHECKSUM_FIELD.length;
}

function tensorsOf(samples: readonly ShardSample[]): NamedTensor[] {
  const blocks = samples.map(({ targets }) => targets);
  const rowLengths = blocks.flatMap(({ offsets_R1 }) => Array.from(offsets_R1.subarray(1), (end, row) => end - offsets_R1[row]));
  if (rowLengths.some((length) => length > 0xffff)) throw new ShardInvalid('a target row has more than 65535 entries; ask for a smaller top_k');
  const logProbs = blocks.flatMap(({ logProbs_S }) => Array.from(logProbs_S, toFloat16Bits));
  return [
    int32('origin', samples.map(({ origin }) => origin)),
    int32('prompt_length', samples.map(({ prompt_T }) => prompt_T.length)),
    int32('prompt_ids', samples.flatMap(({ prompt_T }) => Array.from(prompt_T))),
    int32('completion_length', samples.map(({ completion_T }) => completion_T.length)),
    int32('completion_ids', samples.flatMap(({ completion_T }) => Array.from(completion_T))),
    vector('stopped', 'U8', Uint8Array.from(samples, ({ finish }) => (finish === 'stop' ? 1 : 0))),
    vector('row_length', 'U16', Uint16Array.from(rowLengths)),
    vector('support_ids', 'U8', packIds(Int32Array.from(blocks.flatMap(({ ids_S }) => Array.from(ids_S))))),
    vector('support_log_probs', 'F16', Uint16Array.from(logProbs)),
    vector('tail', 'F32', Float32Array.from(blocks.flatMap(({ tail_R }) => Array.from(tail_R)))),
    vector('actual_log_probs', 'F32', Float32Array.from(blocks.flatMap(({ actualLogProbs_R }) => Array.from(actualLogProbs_R)))),
  ];
}

function samplesOf(tensors: ReadonlyMap<string, NamedTensor>, where: string): ShardSample[] {
  const origin = new Int32Array(payload(tensors, 'origin', where));
  const promptLengths = new Int32Array(payload(tensors, 'prompt_length', where));
  const completionLengths = new Int32Array(payload(tensors, 'completion_length', where));
  const promptIds = new Int32Array(payload(tensors, 'prompt_ids', where));
  const completionIds = new Int32Array(payload(tensors, 'completion_ids', where));
  const stopped = new Uint8Array(payload(tensors, 'stopped', where));
  const rows = rowsOf(tensors, where);
  let p = 0;
  let c = 0;
  return Array.from(origin, (place, index) => {
    const prompt_T = promptIds.slice(p, (p += promptLengths[index]));
    const begin = c;
    const completion_T = completionIds.slice(c, (c += completionLengths[index]));
    const finish = stopped[index] === 1 ? ('stop' as const) : ('length' as const);
    return { origin: place, prompt_T, completion_T, finish, targets: { index, ...rows(begin, c) } };
  });
}

/** A reader of the target rows `[begin, end)` of the whole shard. */
function rowsOf(tensors: ReadonlyMap<string, NamedTensor>, where: string): (begin: number, end: number) => Omit<TargetBlock, 'index'> {
  const lengths = new Uint16Array(payload(tensors, 'row_length', where));
  const starts = new Int32Array(lengths.length + 1);
  for (let row = 0; row < lengths.length; row++) starts[row + 1] = starts[row] + lengths[row];
  const ids = unpackIds(new Uint8Array(payload(tensors, 'support_ids', where)), starts[lengths.length]);
  const logProbs = Float32Array.from(new Uint16Array(payload(tensors, 'support_log_probs', where)), float32FromF16);
  const tail = new Float32Array(payload(tensors, 'tail', where));
  const actual = new Float32Array(payload(tensors, 'actual_log_probs', where));
  return (begin, end) => ({
    offsets_R1: starts.slice(begin, end + 1).map((start) => start - starts[begin]),
    ids_S: ids.slice(starts[begin], starts[end]),
    logProbs_S: logProbs.slice(starts[begin], starts[end]),
    tail_R: tail.slice(begin, end),
    actualLogProbs_R: actual.slice(begin, end),
  });
}

/** A copy of a tensor's bytes, so that wider views are aligned. */
function payload(tensors: ReadonlyMap<string, NamedTensor>, name: string, where: string): ArrayBuffer {
  const tensor = tensors.get(name);
  if (!tensor) throw new ShardDamaged(`${where}: tensor ${name} is missing; remove the file to have it asked for again`);
  return Uint8Array.from(tensor.bytes).buffer;
}

function int32(name: string, values: readonly number[]): NamedTensor {
  return vector(name, 'I32', Int32Array.from(values));
}

function vector(name: string, dtype: NamedTensor['dtype'], values: Uint8Array | Uint16Array | Int32Array | Float32Array): NamedTensor {
  return { name, dtype, shape: [values.length], bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}
