import { BatchInvalid, checkBatch, type PackedBatch } from '../../tokens/batch.js';
import type { LossSpec } from '../../tokens/loss.js';
import { RequestInvalid, type SampleRequest, type ScoreRequest } from '../engine.js';
import type { TargetRow } from './losses.js';

/** What the model can read; a part of its configuration. */
export interface Limits {
  readonly vocabSize: number;
  readonly maxPositions: number;
}

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
export function checkLossBatch(batch: ReferenceBatch, loss: LossSpec, { vocabSize, maxPositions }: Limits): void {
  const { targets } = batch;
  const rounded = targets && { ...targets, logProbs_E: Float32Array.from(targets.logProbs_E), tail_R: Float32Array.from(targets.tail_R) };
  checkBatch({ ...batch, targets: rounded }, vocabSize);
  const long = batch.cuSeqlens_S1.findIndex((end, s) => s > 0 && end - batch.cuSeqlens_S1[s - 1] > maxPositions);
  if (long > 0) throw new BatchInvalid(`sequence ${long - 1} is longer than the ${maxPositions} positions of this model`);
  if (loss.kind !== 'hard' && !targets) throw new BatchInvalid(`the loss ${loss.kind} needs targets; only hard does without`);
}

/** The target of row r, if the batch has targets. */
export function targetRow(targets: ReferenceTargets | undefined, r: number): TargetRow | undefined {
  if (!targets) return undefined;
  const begin = targets.offsets_R1[r];
  const end = targets.offsets_R1[r + 1];
  return { ids: targets.ids_E.subarray(begin, end), logProbs: targets.logProbs_E.subarray(begin, end), tail: targets.tail_R[r] };
}

/** @throws RequestInvalid naming the first broken rule of `SampleRequest`. */
export function checkSampleRequest({ prompts, sampling, key }: SampleRequest, limits: Limits): void {
  const { temperature, topP, topK, maxTokens, stopIds } = sampling;
  need(temperature >= 0 && temperature < Infinity, `temperature is ${temperature}; it must be finite and >= 0`);
  need(topP > 0 && topP <= 1, `topP is ${topP}; it must lie in (0, 1]`);
  needInteger('topK', topK, [0, Infinity]);
  needInteger('maxTokens', maxTokens, [1, Infinity]);
  needInteger('seed', key.seed, [0, 2 ** 53]);
  needInteger('stage', key.stage, [0, 2 ** 16]);
  needInteger('step', key.step, [0, 2 ** 31]);
  stopIds.forEach((id, i) => needInteger(`stopIds[${i}]`, id, [0, limits.vocabSize]));
  prompts.forEach(({ ids_T, sample }, index) => {
    needInteger(`prompts[${index}].sample`, sample, [0, 2 ** 31]);
    needSequence(`prompts[${index}]`, ids_T, limits);
    need(ids_T.length + maxTokens <= limits.maxPositions, `prompts[${index}] and its completion can exceed the ${limits.maxPositions} positions of this model`);
  });
}

/** @throws RequestInvalid naming the first broken rule of `ScoreRequest`. */
export function checkScoreRequest({ sequences, k }: ScoreRequest, limits: Limits): void {
  needInteger('k', k, [1, limits.vocabSize + 1]);
  sequences.forEach(({ ids_T, from }, index) => {
    needSequence(`sequences[${index}]`, ids_T, limits);
    needInteger(`sequences[${index}].from`, from, [1, ids_T.length + 1]);
  });
}

function needSequence(where: string, ids_T: Int32Array, { vocabSize, maxPositions }: Limits): void {
  need(ids_T.length > 0, `${where} is empty; it needs at least one id`);
  need(ids_T.length <= maxPositions, `${where} has ${ids_T.length} ids; this model has ${maxPositions} positions`);
  ids_T.forEach((id, t) => needInteger(`${where}, id ${t},`, id, [0, vocabSize]));
}

function needInteger(what: string, value: number, [from, below]: readonly [number, number]): void {
  need(Number.isSafeInteger(value) && value >= from && value < below, `${what} is ${value}; it must be an integer in [${from}, ${below})`);
}

function need(holds: boolean, message: string): void {
  if (!holds) throw new RequestInvalid(message);
}
