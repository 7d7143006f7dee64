import { BatchInvalid, checkBatch, type PackedBatch } from '../../tokens/batch.js';
import type { LossSpec } from '../../tokens/loss.js';
import type { SampleRequest, ScoreRequest } from '../engine.js';
import type { TargetRow } from './losses.js';

/** A `PackedBatch` whose targets may be given in more than float32, so that tests see the losses without its rounding. */
export type ReferenceBatch = Omit<PackedBatch, 'targets'> & { readonly targets?: ReferenceTargets };

/** As `PackedTargets`. */
export interface ReferenceTargets {
  readonly offsets_R1: Int32Array;
  readonly ids_E: Int32Array;
  readonly logProbs_E: Float32Array | Float64Array;
  readonly tail_R: Float32Array | Float64Array;
}

/** @throws BatchInvalid when the batch breaks its contract or the loss needs targets it does not have. */
export function checkLossBatch(batch: ReferenceBatch, loss: LossSpec, vocabSize: number): void {
  const { targets } = batch;
  const rounded = targets && { ...targets, logProbs_E: Float32Array.from(targets.logProbs_E), tail_R: Float32Array.from(targets.tail_R) };
  checkBatch({ ...batch, targets: rounded }, vocabSize);
  if (loss.kind !== 'hard' && !targets) throw new BatchInvalid(`the loss ${loss.kind} needs targets; only hard does without`);
}

/** The target of row r, if the batch has targets. */
export function targetRow(targets: ReferenceTargets | undefined, r: number): TargetRow | undefined {
  if (!targets) return undefined;
  const begin = targets.offsets_R1[r];
  const end = targets.offsets_R1[r + 1];
  return { ids: targets.ids_E.subarray(begin, end), logProbs: targets.logProbs_E.subarray(begin, end), tail: targets.tail_R[r] };
}

/** @throws BatchInvalid naming the first broken rule of `SampleRequest`. */
export function checkSampleRequest({ prompts, sampling }: SampleRequest, vocabSize: number): void {
  prompts.forEach(({ ids_T }, index) => {
    if (ids_T.length === 0) throw new BatchInvalid(`prompts[${index}] is empty; a completion needs at least one id before it`);
    checkIds(ids_T, vocabSize, `prompts[${index}]`);
  });
  const { temperature, topP, topK, maxTokens } = sampling;
  if (!(temperature >= 0 && temperature < Infinity)) throw new BatchInvalid(`temperature is ${temperature}; it must be finite and >= 0`);
  if (!(topP > 0 && topP <= 1)) throw new BatchInvalid(`topP is ${topP}; it must lie in (0, 1]`);
  if (!(Number.isInteger(topK) && topK >= 0)) throw new BatchInvalid(`topK is ${topK}; it must be an integer >= 0`);
  if (!(Number.isInteger(maxTokens) && maxTokens >= 1)) throw new BatchInvalid(`maxTokens is ${maxTokens}; it must be an integer >= 1`);
}

/** @throws BatchInvalid naming the first broken rule of `ScoreRequest`. */
export function checkScoreRequest({ sequences, k }: ScoreRequest, vocabSize: number): void {
  if (!(Number.isInteger(k) && k >= 1)) throw new BatchInvalid(`k is ${k}; it must be an integer >= 1`);
  sequences.forEach(({ ids_T, from }, index) => {
    if (!(Number.isInteger(from) && from >= 1 && from < ids_T.length)) {
      throw new BatchInvalid(`sequences[${index}].from is ${from}; it must lie in [1, ${ids_T.length}), for nothing predicts the first id`);
    }
    checkIds(ids_T, vocabSize, `sequences[${index}]`);
  });
}

function checkIds(ids: Int32Array, vocabSize: number, where: string): void {
  ids.forEach((id, t) => {
    if (id < 0 || id >= vocabSize) throw new BatchInvalid(`${where} holds ${id} at ${t}; ids of this model lie in [0, ${vocabSize})`);
  });
}
