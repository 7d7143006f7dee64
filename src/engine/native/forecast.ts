import type { PackedBatch } from '../../tokens/batch.js';
import type { MemoryForecast, SampleRequest, SampleWork, ScoreRequest, SequenceWork, Work } from '../engine.js';
import { bytesOf, largerOf } from './arena.js';
import { passLoss } from './loss-pass.js';
import type { EngineCore } from './plan.js';
import type { Footprint, Rehearsal } from './rehearsal.js';
import { passLargest } from './sampler.js';
import { passFirstGroup } from './scorer.js';
import { withoutPause } from './turns.js';

/** Code and tables of the libraries, and what JavaScript's own heap grows by: measured, on two threads. */
const LIBRARY_BYTES = 15 << 20;
/** What the library for AVX2 adds to that: rows that its products hold widened to float32, 8 MiB of it. */
const WIDENING_BYTES = 14 << 20;
/** What the products of the way back add to that. */
const BACKWARD_LIBRARY_BYTES = 5 << 20;
/** Of a target entry or a scored id in JavaScript: an int32 and a float32, as they came or go between processes, as they are read, and what stands beside until it is collected. */
const TARGET_BYTES = 4 * (4 + 4);

const NO_ELEMENTS = { f32: 0, bf16: 0, i32: 0 };
const NOTHING: Footprint = { arena: NO_ELEMENTS, lasting: NO_ELEMENTS, workspaceBytes: 0 };

/** What work of these sizes takes, its tokens and rows spread evenly over its sequences. */
export function footprintOf(rehearsal: Rehearsal, work: Work): Promise<Footprint> {
  return rehearsal.of((core) => {
    const { vocabSize } = core.config;
    if (work.kind === 'sample') return passLargest(core, sampleRequest(work, vocabSize));
    if (work.kind === 'score') return passFirstGroup(core, scoreRequest(work, vocabSize));
    const training = work.kind === 'train' ? { normalizer: 1, recompute: work.recompute } : {};
    return passLoss(core, { batch: batchOf(work, vocabSize), loss: { kind: 'forward_kl', truncation: 'tail_bucket' }, ...training, breathe: withoutPause });
  });
}

/** The contract of `Engine.foresee`. The arena is shared by all works; scratch by all operations. */
export async function foresee({ kernels, rehearsal, footprintOf: walk }: Pick<EngineCore, 'kernels' | 'rehearsal' | 'footprintOf'>, works: readonly Work[]): Promise<MemoryForecast> {
  let most = NOTHING;
  let targetBytes = 0;
  for (const work of works) {
    most = largerFootprint(most, await walk(work));
    if (work.kind !== 'sample') targetBytes = Math.max(targetBytes, work.rows * work.k * TARGET_BYTES);
  }
  const trains = works.some(({ kind }) => kind === 'train');
  const residentBytes = trains ? rehearsal.resident.training : rehearsal.resident.opened;
  const libraryBytes = LIBRARY_BYTES + (kernels.buildInfo().includes('library=avx2 ') ? WIDENING_BYTES : 0) + (trains ? BACKWARD_LIBRARY_BYTES : 0);
  return { residentBytes, peakBytes: residentBytes + bytesOf(most.arena) + bytesOf(most.lasting) + most.workspaceBytes + targetBytes + libraryBytes };
}

function largerFootprint(one: Footprint, other: Footprint): Footprint {
  return {
    arena: largerOf(one.arena, other.arena),
    lasting: largerOf(one.lasting, other.lasting),
    workspaceBytes: Math.max(one.workspaceBytes, other.workspaceBytes),
  };
}

function batchOf({ sequences, tokens, rows, k }: SequenceWork, vocabSize: number): PackedBatch {
  const entries = Math.min(k, vocabSize);
  const cuSeqlens_S1 = Int32Array.from({ length: sequences + 1 }, (_, s) => Math.floor((s * tokens) / sequences));
  return {
    tokens_N: unlikeTokens(cuSeqlens_S1, vocabSize),
    cuSeqlens_S1,
    rows_R: Int32Array.from({ length: rows }, (_, r) => r),
    weights_R: new Float32Array(rows),
    labels_R: new Int32Array(rows),
    targets: {
      offsets_R1: Int32Array.from({ length: rows + 1 }, (_, r) => r * entries),
      ids_E: Int32Array.from({ length: rows * entries }, (_, e) => e % entries),
      logProbs_E: new Float32Array(rows * entries),
      tail_R: new Float32Array(rows).fill(1),
    },
  };
}

// Sequences that begin alike would take less.
function unlikeTokens(cuSeqlens_S1: Int32Array, vocabSize: number): Int32Array {
  const tokens_N = new Int32Array(cuSeqlens_S1[cuSeqlens_S1.length - 1]);
  for (let s = 0; s + 1 < cuSeqlens_S1.length; s++) tokens_N.fill(s % vocabSize, cuSeqlens_S1[s], cuSeqlens_S1[s + 1]);
  return tokens_N;
}

function scoreRequest({ sequences, tokens, rows, k }: SequenceWork, vocabSize: number): ScoreRequest {
  const length = Math.ceil(tokens / sequences);
  const from = Math.max(1, length - Math.ceil(rows / sequences));
  return { k: Math.min(k, vocabSize), sequences: Array.from({ length: sequences }, (_, s) => ({ ids_T: new Int32Array(length).fill(s % vocabSize), from })) };
}

function sampleRequest({ prompts, distinct = prompts, promptTokens, maxTokens }: SampleWork, vocabSize: number): SampleRequest {
  return {
    prompts: Array.from({ length: prompts }, (_, sample) => ({ ids_T: promptLike(sample % distinct, promptTokens, vocabSize), sample })),
    sampling: { temperature: 1, topP: 1, topK: 0, maxTokens, stopIds: [] },
    key: { seed: 0, stage: 0, step: 0 },
  };
}

// Prompts of different numbers differ from their first ids on.
function promptLike(number: number, length: number, vocabSize: number): Int32Array {
  const ids_T = new Int32Array(length).fill(number % vocabSize);
  ids_T[0] = Math.floor(number / vocabSize) % vocabSize;
  return ids_T;
}
